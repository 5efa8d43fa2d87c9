"""Norms of gradients, weights and updates on the sampled steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch

from firstfault.probe.clipped_gradients import ClippedGradients
from firstfault.probe.models import Models, local
from firstfault.probe.record import Parameter, Record
from firstfault.probe.samples import Samples

Tensors = Sequence[torch.Tensor]
SMALLEST = 1e-12
"""Keeps the update of a weight of zeros from being divided by 0."""
JUDGED = 1e-6
"""Norms below are those of weights that began at zero, whose updates are no share of anything."""
MOST = 16_384
"""Values of a parameter whose norm is taken: the norm of so many draws errs by 0.6 %."""
FEW_ROWS = 8
"""Of a part: fewer rows would leave out whole units, and slices of each row are taken."""
HALVES = (torch.float16, torch.bfloat16)
SHORT = (*HALVES, torch.float32)


class Norms:
    """Takes norms around a step of an optimizer: of gradients whole, of large weights and their updates by a part of
    their rows.

    The part is copied into the same memory each time.
    """

    def __init__(self, record: Record, models: Models, samples: Samples | None, clipped: ClippedGradients) -> None:
        self._record, self._models, self._samples, self._clipped = record, models, samples, clipped
        # by optimizer: parameters, norms of gradients and weights
        self._taken: dict[int, tuple[Tensors, Tensors, Tensors]] = {}
        self._before: dict[int, torch.Tensor] = {}  # by parameter, a part of it as it was before the step
        self._kept: set[int] = set()  # the parameters of which these are of the step at hand

    def keep(self, values: Iterable[torch.Tensor]) -> None:
        """Copy the weights as they are before a step; those that were kept for this step already stay."""
        copies: list[torch.Tensor] = []
        parts: list[torch.Tensor] = []
        for value in values:
            if id(value) in self._kept:
                continue
            self._kept.add(id(value))
            now, before = _part(value), self._before.get(id(value))
            if before is None or before.shape != now.shape or before.dtype != now.dtype or before.device != now.device:
                self._before[id(value)] = now.clone()
            else:
                copies.append(before)
                parts.append(now)
        if copies:
            torch._foreach_copy_(copies, parts)

    def take(self, key: int, values: Tensors) -> None:
        """Take what a step will use: gradients and weights."""
        if not values:
            return
        self.keep(values)
        gradients = [_stored(value.grad) for value in values if value.grad is not None]
        self._taken[key] = values, _norms(gradients), _norms([self._before[id(value)] for value in values])
        if self._samples is not None:
            named = [(self._models.names[id(value)], value) for value in values]
            self._samples.take("gradients", ((name, value.grad) for name, value in named if value.grad is not None))
            self._samples.take("weights", named)

    def pull(self, key: int, step: int) -> bool:
        """Put the norms of the step just made into the record, in one transfer; whether all updates were finite."""
        values, gradients, sizes = self._taken.pop(key, ((), (), ()))
        if not values:
            return True
        self._kept -= set(map(id, values))
        changes = [self._before[id(value)] for value in values]
        torch._foreach_sub_(changes, [_part(value) for value in values])
        rows = _together([*gradients, *sizes, *_norms(changes)]).view(3, -1).T.tolist()
        record, ratios = self._record, []
        factors = self._clipped.factors(values)
        for value, row, factor in zip(values, rows, factors, strict=True):
            gradient, size, change = row[0] * factor, row[1], row[2]
            name = self._models.names[id(value)]
            entry = record.parameters.get(name)
            if entry is None:
                entry = record.parameters[name] = Parameter(value.numel())
            entry.gradient.add(step, gradient)
            entry.weight.add(step, size * (value.numel() / max(1, self._before[id(value)].numel())) ** 0.5)
            entry.update.add(step, change / max(size, SMALLEST))
            if size > JUDGED:
                ratios.append(change / size)
        record.grad_norm.add(step, _length(row[0] * factor for row, factor in zip(rows, factors, strict=True)))
        if any(factor > 1 for factor in factors):
            record.clipped.add(step, _length(row[0] for row in rows))
        record.update_ratio.add(step, float(sorted(ratios)[len(ratios) // 2]) if ratios else 0.0)
        return all(map(math.isfinite, ratios))

    def forget(self) -> None:
        """Forget what was kept for a step that did not come."""
        self._taken, self._kept = {}, set()
        self._clipped.forget()

    def note_gradients(self, held: set[int], parameters: Mapping[str, torch.Tensor]) -> None:
        """Note which parameters an optimizer holds, and which ever had a gradient."""
        record = self._record
        for name, value in parameters.items():
            record.in_optimizer[name] = record.in_optimizer.get(name, False) or id(value) in held
            if not record.had_gradient.get(name):
                record.had_gradient[name] = value.grad is not None and bool(_stored(value.grad).any())


def has_norms(value: torch.Tensor) -> bool:
    """Whether norms are taken of a weight with its gradient: of one with sparse gradients where it is looked at as a
    whole.
    """
    return value.grad is not None and (not value.grad.is_sparse or value.numel() <= MOST)


def _length(norms: Iterable[float]) -> float:
    return sum(norm**2 for norm in norms) ** 0.5


def _norms(values: Tensors) -> Tensors:
    """The norm of each tensor; that of half precision in single, where its square would overflow or be rounded."""
    short = any(value.dtype in HALVES for value in values) and all(value.dtype in SHORT for value in values)
    return torch._foreach_norm(list(values), 2, torch.float32) if short else torch._foreach_norm(list(values))


def _together(norms: Tensors) -> torch.Tensor:
    """Norms as one tensor of the processor, in one transfer where they are of one device and type."""
    alike = len({(norm.device, norm.dtype) for norm in norms}) == 1
    return torch.stack(list(norms)).cpu().double() if alike else torch.stack([norm.cpu().double() for norm in norms])


def _part(value: torch.Tensor) -> torch.Tensor:
    """Evenly spaced rows of a parameter, of at most about 16,384 values.

    Where it has few rows, slices along its longest axis.
    """
    value = local(value.detach())
    step = -(-value.numel() // MOST)
    if step <= 1:
        return value
    axis = 0 if len(value) >= FEW_ROWS * step else max(range(value.ndim), key=lambda axis: value.shape[axis])
    return value[(slice(None),) * axis + (slice(None, None, step),)]


def _stored(grad: torch.Tensor) -> torch.Tensor:
    """The stored values of a gradient that may be sparse, or sharded."""
    grad = local(grad)
    return grad.coalesce().values() if grad.is_sparse else grad
