"""What a service answers, against a reference that is sent the same prompt with the answer behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from firstfault.check import Judgement, TargetKind, check, passed
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.lm.adapter import Answer
from firstfault.lm.cuts import UNSTABLE_MARGIN
from firstfault.lm.local import Local
from firstfault.place import Place
from firstfault.subject.language_distances import tuned
from firstfault.subject.language_model import answers, declared_lm, id_faults, reference, text_faults
from firstfault.subject.memo import part
from firstfault.subject.subject import Subject
from firstfault.target.language_model import Prompt

LONG_ANSWER = 16
"""Tokens of an answer that are compared: what serves another model is seen in the first ones."""


@dataclass(frozen=True)
class Replayed:
    """One served answer in the reference: how far each token is below the best one, and from the served log-prob."""

    prompt: str
    below_best: tuple[float, ...]
    apart: tuple[float, ...]

    @property
    def worst(self) -> float:
        """Of the tokens, the most that one is below the best."""
        return max(self.below_best, default=0.0)


@part(Layer.DEPLOYMENT, "lm.reference", of="trained")
def replayed(subject: Subject) -> tuple[Replayed, ...]:
    """The served answers, teacher-forced through a reference in this process."""
    if not declared_lm(subject).served:
        raise Missing("the network itself is compared")
    other = reference(subject)
    if not isinstance(other, Local):
        raise Missing("needs log-probs: a reference in this process")
    if tuned(subject):
        raise Missing("the model was tuned since the reference")
    found = [_replayed(other, prompt, answer) for prompt, answer in answers(subject) if answer.text.strip()]
    seen = tuple(each for each in found if each is not None)
    if found and not seen:
        raise Missing("the ids of the served answers can't be told from their texts")
    return seen


def _replayed(other: Local, prompt: Prompt, answer: Answer) -> Replayed | None:
    """By the likeliest of the ids that an answer can be made of; None where its own tokens are none of these."""
    ways = [_forced(other, prompt, said, answer) for said in _ids_said(other, prompt, answer)]
    return min(ways, key=lambda way: way.worst, default=None)


def _ids_said(other: Local, prompt: Prompt, answer: Answer) -> list[list[int]]:
    """The ids of an answer's text, alone and behind its prompt: some tokenizers write the first word another way."""
    alone = list(other.tokenizer.encode(answer.text, add_special_tokens=False))
    start = other.ids_of(prompt)
    whole = other.encode(other.plain().text_of(prompt) + answer.text)
    both = [alone] + [whole[len(start) :]] * (whole[: len(start)] == start)
    return [said[:LONG_ANSWER] for said in both if not answer.tokens or _reads_as(other, said, answer)]


def _reads_as(other: Local, said: list[int], answer: Answer) -> bool:
    tokens = [other.tokenizer.decode([each]) for each in said]
    return tokens[: len(answer.tokens)] == list(answer.tokens[: len(tokens)])


def _forced(other: Local, prompt: Prompt, said: list[int], answer: Answer) -> Replayed:
    start = other.ids_of(prompt)
    known = other.log_probs([*start, *said])[len(start) - 1 :]
    picked = [float(known[place, each]) for place, each in enumerate(said)]
    below = [float(known[place].max()) - value for place, value in enumerate(picked)]
    apart = [abs(one - two) for one, two in zip(picked, answer.log_probs, strict=False)]
    return Replayed(prompt.id, tuple(below), tuple(apart))


@check(
    layer=Layer.DEPLOYMENT,
    needs={replayed},
    detects={"decoding_override": 0.9, "precision_loss": 0.9, "weights_not_loaded": 0.9},
    kind=TargetKind.LANGUAGE_MODEL,
)
def served_otherwise(subject: Subject, *, apart: float = 0.05) -> Iterator[Judgement]:
    """Find a service whose greedy answers are not the reference's, and say at which cut they part.

    Measures: how far each token of a greedy answer is below the reference's best one, in nat, and how far the served
        log-probabilities of these tokens are from the reference's.
    Fails when: log-probabilities are more than `apart` away in the mean, or without them, or with equal ones, a token
        is not the best by more than 0.06 nat: it was chosen otherwise.
    Not a fault when: two tokens are nearly as likely as each other, or text or ids differ, which is told instead.
    Source: measured on 135 M parameters: greedy text flips where the best two tokens are within 0.06 nat; bfloat16
        moves log-probabilities by 0.03.
    """
    if _differs_before(subject):
        yield passed("text or ids differ, which comes before the answers")
        return
    seen = replayed(subject)
    gaps = [each for answer in seen for each in answer.apart]
    mean = float(torch.tensor(gaps).mean()) if gaps else 0.0
    worst = max(seen, key=lambda answer: answer.worst, default=None)
    if mean > apart:
        yield _judged(f"the served log-probs are {mean:.2g} nat from the reference's", mean, apart, _by_size(mean))
        return
    if worst is None or worst.worst <= UNSTABLE_MARGIN:
        yield passed(f"{len(seen)} greedy answers are the reference's", value=worst.worst if worst else None)
        return
    told = f"{worst.prompt}: a token of the greedy answer is {worst.worst:.2g} nat below the reference's best"
    faults = {"decoding_override": 0.9} if gaps else {"weights_not_loaded": 0.6, "decoding_override": 0.55}
    yield _judged(told, worst.worst, UNSTABLE_MARGIN, faults)


def _judged(message: str, value: float, threshold: float, faults: dict[str, float]) -> Judgement:
    return Judgement(
        Status.FAIL, message, value=value, threshold=threshold, where=Place.setting("lm.endpoint"), faults=faults
    )


def _by_size(mean: float) -> dict[str, float]:
    """Rounded weights move log-probabilities by tenths; other weights by whole nats."""
    return {"weights_not_loaded": 0.9} if mean > 1.0 else {"precision_loss": 0.9}


def _differs_before(subject: Subject) -> bool:
    for cut in (text_faults, id_faults):
        try:
            if cut(subject):
                return True
        except Missing:
            continue
    return False
