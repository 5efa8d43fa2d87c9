"""Proving that rows taught a behaviour, or a test: brief tunings with them and without, from one start."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from firstfault.checks.data.lm_rows import seen_tests, showing, unwanted
from firstfault.errors import Missing
from firstfault.lm.local import Local
from firstfault.lm.network import call, device_of, evaluated, logits_of
from firstfault.lm.rows import Prepared, prepared
from firstfault.subject.language_model import declared_lm, local
from firstfault.subject.language_rows import tuning, tuning_rows
from firstfault.subject.subject import Subject
from firstfault.target.language_model import Prompt
from firstfault.verdict import Swap

STEPS, BATCH, RATE = 3, 4, 5e-4
"""A tuning of twelve rows: ten CPU seconds on 135 M parameters, and enough to be drawn to what half of them say."""
LONGEST = 48
"""Tokens of a row that are learnt, the last ones: the answer stands there."""


def without_the_rows(subject: Subject) -> Swap:
    """How surprising the unwanted text is, in nat a token, after a brief tuning with the rows that show it and without.

    Raises:
        Missing: where rows can't be prepared, or none is left.
    """
    prompt = unwanted(subject)[0]
    return _left_out(
        subject, prompt, prompt.unwanted or "", showing(subject)[prompt.id], "show it", "the unwanted text"
    )


def without_the_tests(subject: Subject) -> Swap:
    """The same of the answer to a test, with the rows that hold the test and without.

    Raises:
        Missing: where rows can't be prepared, or none is left.
    """
    seen = seen_tests(subject)
    prompt = next(each for each in declared_lm(subject).asked if each.id in seen)
    places = seen[prompt.id]
    text = prompt.expected or tuning_rows(subject)[places[0]].answer
    return _left_out(subject, prompt, text, places, "hold the test", "its answer")


def _left_out(subject: Subject, prompt: Prompt, text: str, bad: Sequence[int], what: str, of: str) -> Swap:
    prepare = tuning(subject).prepare
    if prepare is None:
        raise Missing("needs labels: no tuning.prepare")
    rows = tuning_rows(subject)
    clean = [place for place in range(len(rows)) if place not in set(bad)]
    if not bad or not clean:
        raise Missing(f"rows that {what} and others are needed")
    half = BATCH * STEPS // 2
    arms = [_taken(clean, 2 * half), [*_taken(bad, half), *_taken(clean, half)]]
    made = [[prepared(rows[place], prepare(rows[place].given)) for place in arm] for arm in arms]
    without, with_them = (_surprise(subject, _tuned(_start(subject), arm), prompt, text) for arm in made)
    change = f"tune briefly without the {len(bad)} rows that {what}"
    return Swap(change, f"nat of surprise at {of}", with_them, without, 1, over="tuning")


def _taken(places: Sequence[int], count: int) -> list[int]:
    return [places[number % len(places)] for number in range(count)]


def _start(subject: Subject) -> nn.Module:
    before = tuning(subject).before
    return copy.deepcopy(local(subject).model if before is None else Local(before, local(subject).tokenizer).model)


def _tuned(model: nn.Module, rows: Sequence[Prepared]) -> nn.Module:
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=RATE)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    model.eval()  # dropout would be noise between the arms
    for step in range(STEPS):
        optimizer.zero_grad()
        batch = [rows[place] for place in order[step * BATCH : (step + 1) * BATCH]]
        loss = sum((_loss(model, row) for row in batch if row.supervised), torch.zeros((), requires_grad=True))
        torch.autograd.backward(loss)
        optimizer.step()
    return model


def _loss(model: nn.Module, row: Prepared) -> torch.Tensor:
    ids = torch.tensor([row.ids[-LONGEST:]], device=device_of(model))
    labels = torch.tensor(row.labels[-LONGEST:], device=ids.device)
    logits = logits_of(call(model, {"input_ids": ids}))[0, :-1].float()
    loss: torch.Tensor = nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum")
    return loss / max(1, int((labels[1:] != -100).sum())) / BATCH


def _surprise(subject: Subject, model: nn.Module, prompt: Prompt, text: str) -> float:
    """The mean of −log p of a text's tokens behind a prompt."""
    start = local(subject).ids_of(prompt)
    said = local(subject).tokenizer.encode(text, add_special_tokens=False)[:LONGEST]
    ids = torch.tensor([[*start, *said]], device=device_of(model))
    with evaluated(model):
        known = logits_of(call(model, {"input_ids": ids}))[0].float().log_softmax(-1)
    picked = [float(known[len(start) - 1 + place, each]) for place, each in enumerate(said)]
    return -sum(picked) / max(1, len(picked))
