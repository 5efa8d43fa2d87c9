"""How the rows of a language model's tuning are put together: packed in one input, accumulated in one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from firstfault.check import Judgement, TargetKind, check, passed
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.lm.cuts import PROOF
from firstfault.lm.network import call, divergence, evaluated, logits_of
from firstfault.lm.rows import IGNORED, Prepared
from firstfault.place import Place
from firstfault.subject.language_distances import numerics
from firstfault.subject.language_model import network, tokenizer_of
from firstfault.subject.language_rows import prepared_rows, tuning
from firstfault.subject.memo import part
from firstfault.subject.subject import Subject

MICRO = 4
"""Rows whose gradients are accumulated: two lengths would do, and four make the weights of short ones plain."""
LONGEST = 96
"""Tokens of a row that is sent through a network here: enough for two turns."""


@part(Layer.TRAINING, "tuning.pack", of="model")
def packed_apart(subject: Subject) -> tuple[float, float]:
    """How far the log-probabilities of a row are, behind another one in one input, from those of the row alone.

    First without a cache, as the Trainer of transformers trains, then as the model's settings say: with a cache,
    transformers tells no rows by positions that begin anew.
    """
    pack = tuning(subject).pack
    if pack is None:
        raise Missing("the target declares no tuning.pack")
    rows = _unequal(prepared_rows(subject))[:2]
    if len(rows) < 2:
        raise Missing("two rows of unequal ids are needed")
    made = {name: torch.as_tensor(value) for name, value in pack([_as_example(row) for row in rows]).items()}
    inputs = {name: value for name, value in made.items() if name != "labels"}
    ids = inputs["input_ids"].reshape(1, -1) if inputs["input_ids"].ndim == 1 else inputs["input_ids"]
    start = _place_of(rows[1].ids, ids[0].tolist())
    if start is None or start == 0:
        raise Missing("the second row is not found in the packed input")
    model = network(subject)
    with evaluated(model):
        alone = logits_of(call(model, {"input_ids": torch.tensor([rows[1].ids])}))[0].float().log_softmax(-1)
        plain, usual = (
            logits_of(call(model, {**inputs, "input_ids": ids, **more}))[0].float().log_softmax(-1)
            for more in (_without_cache(model), {})
        )
    size = len(alone)
    apart = [float(divergence(alone, packed[start : start + size]).mean()) for packed in (plain, usual)]
    return apart[0], apart[1]


def _without_cache(model: nn.Module) -> dict[str, bool]:
    """What keeps a model from making a cache, where it makes any."""
    return {"use_cache": False} if hasattr(getattr(model, "config", None), "use_cache") else {}


def _unequal(rows: Sequence[Prepared]) -> list[Prepared]:
    short = [row for row in rows if 2 < len(row.ids) <= LONGEST] or list(rows)
    found: dict[tuple[int, ...], Prepared] = {row.ids: row for row in short}
    return sorted(found.values(), key=lambda row: len(row.supervised))


def _as_example(row: Prepared) -> dict[str, list[int]]:
    return {"input_ids": list(row.ids), "labels": list(row.labels), "attention_mask": [1] * len(row.ids)}


def _place_of(part: Sequence[int], whole: Sequence[int]) -> int | None:
    size = len(part)
    for start in range(len(whole) - size, -1, -1):
        if list(whole[start : start + size]) == list(part):
            return start
    return None


@check(
    layer=Layer.TRAINING,
    needs={packed_apart},
    detects={"packing_leak": PROOF},
    gradients=False,
    kind=TargetKind.LANGUAGE_MODEL,
)
def packed_rows_leak(subject: Subject) -> Iterator[Judgement]:
    """Find packed rows that see the rows before them.

    Measures: the mean divergence, in nat, of a row's log-probabilities behind another row from those of the row alone.
    Fails when: it is beyond the numerics of the model: the mask goes across, or positions go on.
    Warns when: it is so only where the model makes a cache, as its settings say: a loop of one's own has to switch that
        off, which the Trainer of transformers does.
    Source: Krell et al. 2021, packing without cross-contamination; transformers, masking_utils: positions that begin
        anew mark rows where there is neither a mask nor a cache.
    """
    (apart, cached), most = packed_apart(subject), 10 * numerics(subject)
    said = "a row behind another one is {:.2g} nat a token from the same row alone"
    if apart > most:
        where = Place.setting("tuning.pack")
        yield Judgement(Status.FAIL, said.format(apart), value=apart, threshold=most, where=where)
    elif cached > most:
        yield Judgement(
            Status.WARN,
            f"{said.format(cached)} where the model makes a cache",
            value=cached,
            threshold=most,
            where=Place.setting("use_cache"),
            fix="train with use_cache=False, or mask across the rows",
        )
    else:
        yield passed(said.format(apart), value=apart)


@part(Layer.TRAINING, "tuning.backward", of="model")
def accumulated_apart(subject: Subject) -> tuple[float, tuple[int, ...]]:
    """How far the gradient of rows one by one is from that of the rows at once, and how many tokens each supervises."""
    backward = tuning(subject).backward
    if backward is None:
        raise Missing("the target declares no tuning.backward")
    rows = [row for row in _unequal(prepared_rows(subject)) if row.supervised]
    rows = [*rows[: MICRO // 2], *rows[-(MICRO - MICRO // 2) :]] if len(rows) > MICRO else rows
    counts = tuple(len(row.supervised) for row in rows)
    if len(set(counts)) < 2:
        raise Missing("rows with unequal numbers of supervised tokens are needed")
    model, tokenizer = network(subject), tokenizer_of(subject)
    pad = getattr(tokenizer, "pad_token_id", None) or 0
    first = _gradient(model, backward, [_padded(rows, pad)])
    second = _gradient(model, backward, [_padded([row], pad) for row in rows])
    return _apart(first, second), counts


def _gradient(model: nn.Module, backward: Any, batches: list[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
    modes = {name: module.training for name, module in model.named_modules()}
    model.eval()  # dropout would draw anew
    model.zero_grad(set_to_none=True)
    try:
        with torch.enable_grad():
            backward(model, batches)
        return [
            value.grad.detach().clone()
            for value in model.parameters()
            if value.requires_grad and value.grad is not None
        ]
    finally:
        model.zero_grad(set_to_none=True)
        for name, module in model.named_modules():
            module.training = modes[name]


def _padded(rows: Sequence[Prepared], pad: int) -> dict[str, torch.Tensor]:
    width = max(len(row.ids) for row in rows)
    ids = [list(row.ids) + [pad] * (width - len(row.ids)) for row in rows]
    labels = [list(row.labels) + [IGNORED] * (width - len(row.ids)) for row in rows]
    mask = [[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows]
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels), "attention_mask": torch.tensor(mask)}


def _apart(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> float:
    """The norm of the difference of two gradients, of the norm of the first."""
    if not first or len(first) != len(second):
        raise Missing("tuning.backward leaves no gradient in the model's parameters")
    whole = sum(float(value.float().square().sum()) for value in first) ** 0.5
    gap = sum(float((one - other).float().square().sum()) for one, other in zip(first, second, strict=True)) ** 0.5
    return gap / max(whole, 1e-12)


@check(
    layer=Layer.TRAINING,
    needs={accumulated_apart},
    detects={"accumulation_normalisation": PROOF},
    gradients=False,
    kind=TargetKind.LANGUAGE_MODEL,
)
def accumulation_weighs_rows(subject: Subject, *, most: float = 0.02) -> Iterator[Judgement]:
    """Find accumulated gradients that are not those of the same rows at once.

    Measures: the norm of the difference of both gradients, of the norm of the gradient at once, for rows of unequal
        numbers of supervised tokens, without dropout.
    Fails when: it is above `most`: a mean over each batch's own tokens weighs short rows too much.
    Source: transformers issue 34198 (2024), gradient accumulation; float32 sums differ by 1e-5.
    """
    apart, counts = accumulated_apart(subject)
    said = f"the gradient of {len(counts)} rows one by one is {apart:.1%} from that of the rows at once"
    if apart <= most:
        yield passed(said, value=apart)
        return
    tokens = f"they supervise {', '.join(map(str, counts))} tokens"
    yield Judgement(
        Status.FAIL, f"{said}; {tokens}", value=apart, threshold=most, where=Place.setting("tuning.backward")
    )
