"""Whether rows that a loop packs into one input of a language model see each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.interrupts import pass_on
from firstfault.lm.cuts import tolerance
from firstfault.lm.modules import number_format
from firstfault.lm.network import call, divergence, evaluated, logits_of
from firstfault.place import Place
from firstfault.probe.seen_models import SeenModel
from firstfault.subject.captured import seen_models
from firstfault.subject.subject import Subject
from firstfault.training.call_tree import put_together

SHORTEST, LONGEST = 3, 256
"""Tokens of a packed row that are compared: of fewer, hardly any follows another one; of more, nothing is added."""


@dataclass(frozen=True)
class Packed:
    """A call whose first row holds another conversation from `start` up to `end`, and by what that was told."""

    inputs: dict[str, Any]
    start: int
    end: int
    told_by: str


@check(layer=Layer.TRAINING, needs={"record"}, detects={"packing_leak": 0.95})
def packing_in_loop(subject: Subject) -> Iterator[Judgement]:
    """Find packed rows of a loop that see the rows before them.

    Measures: the mean divergence, in nat a token, of a row's log-probabilities behind another one, as the loop calls
        its model, from those of the same row alone. Rows are told apart by positions that begin anew, or where a
        conversation of the tokenizer's template begins again.
    Fails when: it is beyond ten times the numerics of the model: the mask goes across.
    Not a fault when: texts are packed that are no conversations, and whose positions go on, as those that a model is
        first trained on: whether they are meant to see each other can't be told.
    Source: Krell et al. 2021, packing without cross-contamination. transformers 5 masks by positions only without
        attention_mask and without a cache: `use_cache=False`.
    """
    for seen in seen_models(subject):
        packed = _packed(seen, subject.record.tokens.start)
        if packed is None:
            continue
        try:
            apart = _apart(seen, packed)
        except BaseException as error:  # a model that can't be asked again
            pass_on(error)
            yield skipped("the model can't be called again with what it was given")
            return
        yield _judged(apart, 10 * tolerance(number_format(seen.start)), packed)
        return
    yield skipped("no packed rows were seen")


def _judged(apart: float, most: float, packed: Packed) -> Judgement:
    told = f"a row behind another one ({packed.told_by}) is {apart:.2g} nat a token from the same row alone"
    if apart <= most:
        return passed(told, value=apart)
    where = Place.part("training loop")
    return Judgement(Status.FAIL, told, value=apart, threshold=most, where=where)


def _packed(seen: SeenModel, start: Sequence[int]) -> Packed | None:
    """The first call with a packed row."""
    for given in seen.calls:
        args, named = put_together(given.form, given.tensors)
        ids = named.get("input_ids", args[0] if args else None)
        if not isinstance(ids, torch.Tensor) or ids.ndim != 2 or ids.is_floating_point():
            continue
        inputs = {name: value for name, value in named.items() if name != "labels"} | {"input_ids": ids}
        row, positions = ids[0].tolist(), named.get("position_ids")
        anew = _restarts(positions[0].tolist()) if isinstance(positions, torch.Tensor) and positions.ndim == 2 else []
        again = _beginnings(row, start)[1:]
        places, told_by = (anew, "positions begin anew") if anew else (again, "a conversation begins again")
        if places and (places[1:] or [len(row)])[0] - places[0] >= SHORTEST:
            end = min((places[1:] or [_unpadded(named.get("attention_mask"), len(row))])[0], places[0] + LONGEST)
            return Packed(inputs, places[0], end, told_by)
    return None


def _restarts(positions: Sequence[int]) -> list[int]:
    """The places at which positions begin anew: 0 behind a larger one, with 1 behind it; padding repeats its own."""
    last = len(positions) - 1
    return [at for at in range(1, last) if positions[at] == 0 < positions[at - 1] and positions[at + 1] == 1]


def _beginnings(row: Sequence[int], start: Sequence[int]) -> list[int]:
    size = len(start)
    return [at for at in range(len(row) - size) if list(row[at : at + size]) == list(start)] if size else []


def _unpadded(mask: Any, width: int) -> int:
    if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
        return width
    return int(mask[0].nonzero().max()) + 1 if bool(mask[0].any()) else width


def _apart(seen: SeenModel, packed: Packed) -> float:
    """How far the packed row is from itself alone."""
    model, ids = seen.start, packed.inputs["input_ids"][:1, packed.start : packed.end]
    with evaluated(model):
        together = logits_of(call(model, packed.inputs))[0, packed.start : packed.end].float().log_softmax(-1)
        alone = logits_of(call(model, {"input_ids": ids}))[0].float().log_softmax(-1)
    return float(divergence(alone, together).mean())
