"""Whether a language model can do at all what its failing prompts ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch

from firstfault.check import Judgement, TargetKind, check, passed, skipped
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.lm.local import Local
from firstfault.lm.modules import HALF_RANGE
from firstfault.place import Place
from firstfault.subject.language_causes import batch_fault, cache_gap, log_prob_fault, overflow
from firstfault.subject.language_distances import numerics, tuned
from firstfault.subject.language_model import (
    ANSWER_TOKENS,
    answers,
    declared_lm,
    id_faults,
    local,
    reference,
    text_faults,
)
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.target.language_model import Prompt

DRAWS = 3
"""Answers that are drawn beside the greedy one; the best of four counts."""


@memo(of="trained")
def failing(subject: Subject) -> tuple[Prompt, ...]:
    """The prompts whose greedy answer lacks what is expected."""
    found = tuple(
        prompt
        for prompt, answer in answers(subject)
        if prompt.expected is not None and prompt.expected.lower() not in answer.text.lower()
    )
    if not any(prompt.expected for prompt, _ in answers(subject)):
        raise Missing("needs a prompt with `expected`, the text that a right answer holds")
    return found


def clean(subject: Subject) -> bool:
    """Whether nothing differs at any cut that can be seen."""
    for cut in (text_faults, id_faults, log_prob_fault, batch_fault):
        with suppress(Missing):
            if _found(subject, cut):
                return False
    with suppress(Missing):
        if overflow(subject)[0] > HALF_RANGE:
            return False
    with suppress(Missing):
        return cache_gap(subject) <= numerics(subject)
    return True


def _found(subject: Subject, cut: Callable[[Subject], Any]) -> bool:
    return bool(cut(subject))


@check(
    layer=Layer.MODEL,
    needs={local, failing},
    detects={"incapable": 0.9},
    gradients=False,
    kind=TargetKind.LANGUAGE_MODEL,
)
def can_not_do_it(subject: Subject) -> Iterator[Judgement]:
    """Find failing prompts that no cut explains, and that the reference fails as well, however it is asked.

    Measures: the greedy answer, one after the other prompts with their right answers as examples, and the best of
        three drawn ones, of the model and of the reference.
    Fails when: every cut that can be seen is clean, and none of these holds what is expected.
    Not a fault when: a difference at a cut explains it, which is told instead; or the model was tuned, since its
        training is looked at later.
    Source: pass@k, Chen et al. 2021: what a model never says, in no way it is asked, it can't do.
    """
    failed = failing(subject)
    if not failed:
        yield passed("every expected text is in its answer", value=0)
        return
    if tuned(subject):
        yield skipped("the model was tuned, and its training is looked at later")
        return
    if not clean(subject):
        yield skipped("a difference at a cut comes first")
        return
    hopeless = [prompt.id for prompt in failed if not _ever(subject, prompt)]
    if not hopeless:
        yield Judgement(
            Status.WARN,
            f"{len(failed)} prompts fail, but the model can do them: with examples, or among four answers",
            value=len(failed),
            where=Place.cases(*(prompt.id for prompt in failed)),
            faults={},
        )
        return
    yield Judgement(
        Status.FAIL,
        f"{hopeless[0]}: neither model nor reference says what is expected, with examples and in four tries",
        value=len(hopeless),
        where=Place.cases(*hopeless),
    )


def _ever(subject: Subject, prompt: Prompt) -> bool:
    models = [local(subject)] + [reference(subject)] * (declared_lm(subject).reference is not None)
    return any(
        _right(prompt, text) for model in models if isinstance(model, Local) for text in _tries(subject, model, prompt)
    )


def _right(prompt: Prompt, text: str) -> bool:
    return (prompt.expected or "").lower() in text.lower()


def _tries(subject: Subject, model: Local, prompt: Prompt) -> Iterator[str]:
    yield model.answer(prompt, ANSWER_TOKENS).text
    shots = [other for other, _ in answers(subject) if other.expected and other.id != prompt.id]
    if shots:
        examples = [
            turn
            for other in shots
            for turn in (*other.messages, {"role": "assistant", "content": other.expected or ""})
        ]
        with suppress(Missing):
            yield model.answer(Prompt([*examples, *prompt.messages], id=prompt.id), ANSWER_TOKENS).text
    for seed in range(DRAWS):
        yield drawn(model, prompt, seed)


def drawn(model: Local, prompt: Prompt, seed: int) -> str:
    """An answer drawn at temperature 1."""
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: torch.Tensor) -> torch.Tensor:
        return torch.multinomial(logits.nan_to_num().softmax(-1).cpu(), 1, generator=generator)

    return model.continued(model.ids_of(prompt), ANSWER_TOKENS, choose).text
