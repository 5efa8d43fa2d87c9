"""What a generator makes, beside the real samples that its critic is shown: at the start and at the end of a loop."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from firstfault.probe.record import Record
from firstfault.probe.samples import stride
from firstfault.training.tensors import tensors_in

MOST_ROWS, MOST_VALUES = 64, 256  # of a batch, and of a row
KEPT_BATCHES = 8  # of the sampled steps, the last: some 400 steps of a long training
FEWEST_ROWS = 64  # a side: of 300 such pairs of one distribution none lay more than 0.05 apart, of 16 rows 0.13
MOST_MODELS = 6  # of more, holding the last outputs of each costs too much: they are layers that are called one by one
UNPAIRED = 20  # first calls that are watched while a loop has one model


@dataclass
class _Pair:
    """A generator and the critic that is given its outputs."""

    generator: str
    first: torch.Tensor
    real: deque[torch.Tensor] = field(default_factory=lambda: deque(maxlen=KEPT_BATCHES))
    last: deque[torch.Tensor] = field(default_factory=lambda: deque(maxlen=KEPT_BATCHES))
    batches: int = 0
    attached: bool = False
    """Whether the generator was ever to learn from the critic's judgement."""
    detached: bool = False
    """Whether the critic ever was, and not the generator."""


class GeneratedSamples:
    """Learns which model is given what another one makes, and other samples of that width beside them.

    What a critic is given is known for its generator's by the memory that it lies in: detached or not. Samples that are
    made from a generator's outputs by operations of the loop are neither; a pair that shows such is not judged.
    """

    def __init__(self) -> None:
        self._made: dict[int, tuple[str, torch.Tensor]] = {}  # by model, its last outputs
        self._pairs: dict[tuple[int, int], _Pair] = {}
        self._changed: set[int] = set()  # critics that are given what a loop has made of outputs
        self._calls = self._models = 0
        self.open = True
        """Whether calls of the models that are known are to be told."""

    def met(self, models: int) -> None:
        """A model was found, the last of so many."""
        self._models, self.open = models, True

    def answered(self, model: nn.Module, outputs: Any) -> None:
        """A model answered."""
        self._calls += 1
        if self._models > MOST_MODELS or (self._models < 2 and self._calls > UNPAIRED):
            self._made.clear()
            self.open = False
            return
        made = _samples_in(outputs)
        if made is not None:  # held, so that its memory is not given to others
            self._made[id(model)] = type(model).__name__, made.detach()

    def given(self, model: nn.Module, args: Any, *, sampled: bool) -> None:
        """A model is called with gradients on."""
        if not self._made or (len(self._made) == 1 and id(model) in self._made):
            return
        x = _samples_in(args)
        if x is None:
            return
        maker = next((key for key, (_, made) in self._made.items() if key != id(model) and _same(made, x)), None)
        if maker is not None:
            self._generated((maker, id(model)), x, sampled)
        elif x.grad_fn is not None:
            self._changed.add(id(model))
        elif sampled:
            self._real(model, x)

    def _generated(self, key: tuple[int, int], x: torch.Tensor, sampled: bool) -> None:
        if key not in self._pairs:
            self._pairs[key] = _Pair(self._made[key[0]][0], _rows(x))
        pair = self._pairs[key]
        pair.batches += 1
        pair.attached |= x.grad_fn is not None
        pair.detached |= x.grad_fn is None
        if sampled:
            pair.last.append(_rows(x))

    def _real(self, model: nn.Module, x: torch.Tensor) -> None:
        """Real samples, without those rows of a batch that a generator has made."""
        for (maker, critic), pair in self._pairs.items():
            if critic != id(model) or maker not in self._made:
                continue
            made = self._made[maker][1]
            if made[:1].numel() == x[:1].numel() and len(x):
                known = _among(x, made)
                pair.detached |= bool(known.any())
                x = x[~known]
            if len(x):
                pair.real.append(_rows(x))

    def note(self, record: Record) -> None:
        """Put every generator of which a critic learns into the record, with what it came to."""
        for (_, critic), pair in self._pairs.items():
            if pair.attached and pair.detached:
                found = _judged(pair) if critic not in self._changed else {}
                record.generated[pair.generator] = {"batches": float(pair.batches), **found}


def _judged(pair: _Pair) -> dict[str, float]:
    """How far the first and the last generated samples lie from the real ones, and how far they lie apart."""
    same = [rows for rows in pair.real if rows.shape[1] == pair.first.shape[1]]
    made = [rows for rows in pair.last if len(rows) > 1]
    if sum(map(len, same)) < FEWEST_ROWS or sum(map(len, made)) < FEWEST_ROWS:
        return {}
    real, last = torch.cat(same), torch.cat(made)
    spread = torch.stack([_apart(rows) for rows in made]).mean()
    return {
        "first": distance(pair.first, real),
        "last": distance(last, real),
        "spread": float(spread / _apart(real).clamp_min(1e-12)),
    }


def distance(first: torch.Tensor, second: torch.Tensor) -> float:
    """The energy coefficient of two samples `(N, K)`, `(M, K)`: 0 for one distribution, 1 for two points apart.

    (2 E|X − Y| − E|X − X′| − E|Y − Y′|) / 2 E|X − Y|, Székely & Rizzo 2013; NaN where values are not finite.
    """
    between = float(torch.cdist(first, second).mean())
    if between == 0.0:
        return 0.0
    return max(0.0, 1 - float(_apart(first) + _apart(second)) / (2 * between))


def _apart(rows: torch.Tensor) -> torch.Tensor:
    """The mean distance of two different rows."""
    return torch.cdist(rows, rows).sum() / max(1, len(rows) * (len(rows) - 1))


def _samples_in(values: Any) -> torch.Tensor | None:
    """The first tensor that may hold samples: numbers, of at least two axes."""
    return next((value for value in tensors_in(values) if value.is_floating_point() and value.ndim > 1), None)


def _same(made: torch.Tensor, x: torch.Tensor) -> bool:
    return made.data_ptr() == x.data_ptr() and made.numel() == x.numel()


def _among(x: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """Which rows of a batch are rows of another."""
    own, others = (_few(value) for value in (x, made))
    return (own[:, None] == others[None]).all(-1).any(1)


def _few(x: torch.Tensor) -> torch.Tensor:
    rows = x.detach().flatten(1)
    return rows[:, :: stride(rows.shape[1], 8)]


def _rows(x: torch.Tensor) -> torch.Tensor:
    rows = x.detach()[:MOST_ROWS].flatten(1)
    return rows[:, :: stride(rows.shape[1], MOST_VALUES)].to("cpu", torch.float32, copy=True)
