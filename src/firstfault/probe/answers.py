"""How good the answers of a loop are, whatever its loss: what torch's loss functions were given, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from firstfault.probe.code_lines import user_line
from firstfault.probe.loss_hooks import hear_losses
from firstfault.training.losses import IGNORED, OF_CLASSES, OF_NUMBERS, is_one_hot

MOST_CLASSES = 4096
"""Classes that are counted each by itself; those with larger ids are counted as one."""
VALIDATION = ", without gradients"
"""How the name of a site ends that was called without gradients."""


class Answers:
    """Counts what is right in the calls of torch's loss functions, by their places.

    `sites` holds by place its kind and a row of sums for every step: of `classes` right and all, of `yes_no` right,
    all, and the true, false and missed yeses, of `numbers` squared errors, all, and the sums of targets and of their
    squares. Calls without gradients are a validation's.
    """

    def __init__(self, step: Callable[[], int]) -> None:
        self._step = step
        self.sites: dict[str, dict[str, Any]] = {}

    def patches(self) -> list[Callable[[], None]]:
        """Begin to listen."""
        return hear_losses(self._heard, lambda: True)

    def _heard(self, name: str, given: Mapping[str, Any], value: Any) -> None:
        outputs, target = given.get("input"), given.get("target")
        if isinstance(outputs, torch.Tensor) and isinstance(target, torch.Tensor):
            self._count(name, outputs.detach(), target.detach(), given.get("ignore_index", IGNORED))

    def _count(self, name: str, outputs: torch.Tensor, target: torch.Tensor, ignored: int) -> None:
        kind = "numbers"
        if name in OF_CLASSES:
            kind, row, labels = "classes", *_classes(outputs, target, ignored)
        elif target.numel() != outputs.numel():
            return
        elif name in OF_NUMBERS and is_one_hot(target, outputs):
            if target.ndim == 2 and target.shape[1] > 1:
                kind, row, labels = "classes", *_classes(outputs, target.float(), ignored)
            else:
                kind, row, labels = "yes_no", *_yes_no(name, outputs, target)
        elif name not in OF_NUMBERS and bool(((target == 0) | (target == 1)).all()):
            kind, row, labels = "yes_no", *_yes_no(name, outputs, target)
        else:
            shares = name.endswith("logits") and bool(((target >= 0) & (target <= 1)).all())
            row, labels = _numbers(outputs.sigmoid() if shares else outputs, target), {}
        place = f"{name} at {_place()}{'' if torch.is_grad_enabled() else VALIDATION}"
        site = self.sites.setdefault(place, {"kind": kind, "steps": {}, "labels": {}})
        if site["kind"] != kind:
            return
        step = self._step() + 1
        known = site["steps"].get(step)
        site["steps"][step] = row if known is None else [one + other for one, other in zip(known, row, strict=True)]
        for label, count in labels.items():
            site["labels"][label] = site["labels"].get(label, 0) + count


def _classes(outputs: torch.Tensor, target: torch.Tensor, ignored: int) -> tuple[list[float], dict[int, int]]:
    axis = 1 if outputs.ndim > 1 else 0
    if target.is_floating_point():  # shares of classes
        target = target.argmax(axis)
    counts = target != ignored
    finite = torch.isfinite(outputs).all(axis)
    right = ((outputs.argmax(axis) == target) & finite & counts).sum()
    kept = target[counts] if target.ndim else target.reshape(1)
    histogram = torch.bincount(kept.clamp(0, MOST_CLASSES).long()).tolist() if kept.numel() else []
    return [float(right), float(counts.sum())], {label: count for label, count in enumerate(histogram) if count}


def _yes_no(name: str, outputs: torch.Tensor, target: torch.Tensor) -> tuple[list[float], dict[int, int]]:
    yes = target.flatten() > 0.5
    values = outputs.flatten()
    finite = torch.isfinite(values)
    said = values > (0.0 if name.endswith("logits") else 0.5)
    right = float(((said == yes) & finite).sum())
    true, false, missed = ((said & yes).sum(), (said & ~yes).sum(), ((~said | ~finite) & yes).sum())
    count = int(yes.sum())
    return [right, float(len(yes)), float(true), float(false), float(missed)], {1: count, 0: len(yes) - count}


def _numbers(outputs: torch.Tensor, target: torch.Tensor) -> list[float]:
    values, wanted = outputs.flatten().double(), target.flatten().double()
    return [float(((values - wanted) ** 2).sum()), float(len(wanted)), float(wanted.sum()), float((wanted**2).sum())]


def _place() -> str:
    """The line of the user's code that asked for the loss."""
    line = user_line()
    return f"{line.file}:{line.line}" if line is not None else "no line of the user's"
