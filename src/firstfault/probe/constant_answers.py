"""What the loss functions of torch come to at the end, beside what the best answer costs that does not look at the
inputs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from firstfault.training.losses import ELEMENTWISE, IGNORED, OF_TRIPLETS

KEPT_CALLS = 40  # of the sampled steps, the last: some 2,000 steps of a long training
KEPT_VALUES = 4_096  # of a call's targets
FEWEST_CALLS, FEWEST_TARGETS, ENOUGH_TARGETS = 3, 64, 200
"""A share errs by 0.06 of the fewest targets, and by 0.035 of enough, for which more calls are looked back on."""
MOST_OUTPUTS = 512  # for each of which a constant is known
FEWEST_PER_CLASS = 10  # targets for each class that was seen: the entropy of fewer is not known


@dataclass(frozen=True)
class _Seen:
    value: float
    targets: torch.Tensor


class ConstantAnswers:
    """Keeps the targets and values of the last calls of each loss function; knows what a constant answer costs.

    Classes are answered by their shares, numbers by their mean (absolute errors by the median), yes and no by the share
    of yes, each output by its own where enough rows of few outputs were kept; triplets whose answers are all alike cost
    their margin. A loss with weights, with smoothed labels, or without a reduction is not kept: its constant is
    another.
    """

    def __init__(self) -> None:
        self._seen: dict[str, deque[_Seen]] = {}

    def saw(self, name: str, target: Any, value: Any, settings: Mapping[str, Any]) -> None:
        """A loss function was called with gradients on, on a sampled step."""
        if name not in _COSTS or not isinstance(target, torch.Tensor) or not isinstance(value, torch.Tensor):
            return
        if any(settings.get(key) is not None for key in ("weight", "pos_weight")) or settings.get("label_smoothing"):
            return
        if value.numel() != 1 or settings.get("reduction", "mean") not in ("mean", "sum"):
            return
        if name in OF_TRIPLETS:
            target = target.new_full(target.shape[:1], settings.get("margin", 1.0))
        kept = target.detach().reshape(-1)
        if name in ELEMENTWISE and target.ndim > 1 and 0 < target.numel() <= MOST_OUTPUTS * len(target):
            kept = target.detach().reshape(len(target), -1)
        elif not target.is_floating_point():
            kept = kept[kept != settings.get("ignore_index", IGNORED)]
        elif name == "cross_entropy":
            return
        total = float(value.detach())
        mean = total / max(1, kept.numel()) if settings.get("reduction") == "sum" else total
        rows = max(1, KEPT_VALUES * len(kept) // max(1, kept.numel()))
        calls = self._seen.setdefault(name, deque(maxlen=KEPT_CALLS))
        calls.append(_Seen(mean, kept[:: max(1, len(kept) // rows)][:rows].cpu()))

    def judged(self) -> dict[str, dict[str, float]]:
        """By loss function: the mean `loss` of the last calls, what a `constant` answer costs, on how many `targets`.

        The last calls are a third of them, or as many as are enough, up to a half. Of targets that are whole numbers,
        how many different `values` they have, and the share of the `commonest`.
        """
        found = {}
        for name, calls in self._seen.items():
            last = _enough(list(calls))
            targets = _joined(last)
            varied = name in OF_TRIPLETS or any(
                bool((call.targets != call.targets[:1]).any()) for call in last if len(call.targets)
            )
            constant = _cost(name, targets) if len(targets) >= FEWEST_TARGETS else None
            if len(last) < FEWEST_CALLS or constant is None or not varied:
                continue
            loss = sum(call.value for call in last) / len(last)
            found[name] = {"loss": loss, "constant": constant, "targets": float(len(targets)), **_values(targets)}
        return found


def _enough(calls: list[_Seen]) -> list[_Seen]:
    most, count = max(FEWEST_CALLS, (len(calls) + 1) // 2), max(FEWEST_CALLS, len(calls) // 3)
    while count < most and sum(len(call.targets) for call in calls[-count:]) < ENOUGH_TARGETS:
        count += 1
    return calls[-count:]


def _joined(calls: list[_Seen]) -> torch.Tensor:
    """The targets of calls, as rows where all have as many outputs, and there are enough of them; else one by one."""
    parts = [call.targets for call in calls]
    alike = len({part.shape[1:] for part in parts}) == 1 and sum(map(len, parts)) >= FEWEST_TARGETS
    return torch.cat(parts if alike else [part.reshape(-1) for part in parts])


def _cost(name: str, targets: torch.Tensor) -> float | None:
    """What the best constant answer costs, as a mean over outputs, each corrected for the rows that it is fitted to."""
    if targets.ndim == 1:
        return _COSTS[name](targets)
    costs = [float(_COSTS[name](column) or 0.0) for column in targets.T]
    return sum(costs) / len(costs) * (1 + 1 / len(targets))


def _values(targets: torch.Tensor) -> dict[str, float]:
    if bool((targets != targets.round()).any()):
        return {}
    counts = torch.unique(targets, return_counts=True)[1]
    return {"values": float(len(counts)), "commonest": float(counts.max()) / targets.numel()}


def _of_classes(targets: torch.Tensor) -> float | None:
    """The entropy of the shares of the classes, corrected for the number of targets (Miller 1955)."""
    shares = np.unique(targets.numpy(), return_counts=True)[1] / len(targets)
    if len(targets) < FEWEST_PER_CLASS * len(shares):
        return None
    return float(-(shares * np.log(shares)).sum()) + (len(shares) - 1) / (2 * len(targets))


def _of_yes_and_no(targets: torch.Tensor) -> float:
    share = targets.double().mean().clamp(1e-12, 1 - 1e-12)
    return float(-(share * share.log() + (1 - share) * (1 - share).log()))


_COSTS: dict[str, Callable[[torch.Tensor], float | None]] = {
    "cross_entropy": _of_classes,
    "nll_loss": _of_classes,
    "binary_cross_entropy": _of_yes_and_no,
    "binary_cross_entropy_with_logits": _of_yes_and_no,
    "mse_loss": lambda targets: float(targets.double().var(unbiased=False)),
    **dict.fromkeys(OF_TRIPLETS, lambda margins: float(margins.double().mean())),
    "l1_loss": lambda targets: float((targets.double() - targets.double().median()).abs().mean()),
}
