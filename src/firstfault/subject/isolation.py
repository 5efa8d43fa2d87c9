"""Reduced copies of a model: the smallest part of it that still fails a check, by name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from firstfault.check import REGISTRY, checks_of, run_check
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.finding import Finding, Layer, LayerReport, Status
from firstfault.place import Kind, Place
from firstfault.subject.subject import Subject
from firstfault.subject.submodule import submodule_subject, with_model

CONTAINERS = (nn.Sequential, nn.ModuleList)


class Isolated(NamedTuple):
    """The smallest part that still fails: its modules by name, none for the whole model, and what was found there."""

    names: tuple[str, ...]
    finding: Finding


def isolate(subject: Subject, check: str, *, seconds: float = 20.0) -> Isolated:
    """The smallest part of the subject's model that still fails a check of the model layer.

    First the submodules are tested alone, the outer before the inner, with what they receive in the whole model.
    Then, in the smallest that fails, the children of `nn.Sequential` and `nn.ModuleList` are taken out: those whose
    absence alone lets the check pass are named, and where there are none, those that are still needed once all that
    can go is gone. A child can be taken out when the rest runs, with outputs of the same shape. Widths are never
    reduced, since the next layers would no longer fit. After `seconds` no further copy is tried.

    Raises:
        ValueError: when there is no such check, or it does not fail on the whole model.

    Source: Zeller & Hildebrandt 2002, simplifying and isolating failure-inducing input.
    """
    checks_of(Layer.MODEL)
    if check not in REGISTRY or REGISTRY[check].layer is not Layer.MODEL:
        raise ValueError(f"check must be one of the model layer, but got {check!r}")
    whole = _failure(subject, check)
    if whole is None:
        raise ValueError(f"{check} must fail on the whole model to be isolated, but it does not")
    return _Search(check, whole, time.monotonic() + seconds).smallest(subject)


def placed(report: LayerReport, subject: Subject) -> LayerReport:
    """A report of the model layer in which failures that name no module name the smallest part that still fails."""
    return replace(
        report,
        findings=tuple(
            _placed(finding, subject) if finding.status is Status.FAIL and finding.check in REGISTRY else finding
            for finding in report.findings
        ),
    )


def _placed(finding: Finding, subject: Subject) -> Finding:
    if finding.where is not None and _names_a_module(finding.where, subject.model):
        return finding
    try:
        names = isolate(subject, finding.check).names
    except (ValueError, Missing, UserCodeError, FirstfaultError):
        return finding
    return replace(finding, where=Place.modules(*names)) if names else finding


def _names_a_module(place: Place, model: nn.Module) -> bool:
    known = {name for name, _ in [*model.named_modules(), *model.named_parameters()] if name}
    return place.kind in (Kind.MODULE, Kind.PARAMETER) and not known.isdisjoint(place.names)


def _failure(subject: Subject, check: str, faults: Any = None) -> Finding | None:
    """The first failed finding of a check, for one of the given faults where there are any."""
    found = run_check(REGISTRY[check], subject, subject.target.thresholds.get(check, {}))
    return next(
        (
            finding
            for finding in found
            if finding.status is Status.FAIL
            and finding.check == check
            and (faults is None or set(faults) & set(finding.faults))
        ),
        None,
    )


class _Search:
    """The copies tried for one failed check, until a deadline."""

    def __init__(self, check: str, whole: Finding, deadline: float) -> None:
        self.check, self.whole, self.deadline = check, whole, deadline

    def smallest(self, subject: Subject) -> Isolated:
        name, finding, part = self._innermost(subject)
        needed, finding = self._reduce(part, finding)
        return Isolated(_inner(needed) or ((name,) if name else ()), finding)

    def _innermost(self, subject: Subject) -> tuple[str, Finding, Any]:
        name, finding, part = "", self.whole, subject
        waiting = _children(subject.model, "")
        while waiting and time.monotonic() < self.deadline:
            tried = waiting.pop(0)
            try:
                candidate = submodule_subject(subject, tried)
            except FirstfaultError:  # it is not called itself, but its children may be
                waiting = _children(subject.model, tried) + waiting
                continue
            failed = _failure(candidate, self.check, self.whole.faults)
            if failed is not None:
                name, finding, part = tried, failed, candidate
                waiting = _children(subject.model, tried)
        return name, finding, part

    def _reduce(self, subject: Subject, finding: Finding) -> tuple[list[str], Finding]:
        """The children each of which heals the check by its absence; else those needed once all others are gone."""
        names = removable(subject.model)
        healing = [name for name in names if self._without(subject, [name]) is None]
        if healing:
            return healing, finding
        gone: list[str] = []
        needed: list[str] = []
        for name in names:
            if name.startswith(tuple(f"{other}." for other in gone)):
                continue
            failed = self._without(subject, [*gone, name])
            if failed is None:
                needed.append(name)
            elif failed is not self.whole:
                gone, finding = [*gone, name], failed
        return needed, finding

    def _without(self, subject: Subject, names: Sequence[str]) -> Finding | None:
        """What the check finds without some children: None if it passes, the whole's finding if it can't be tried."""
        if time.monotonic() > self.deadline:
            return self.whole
        less = _copy_without(subject, names)
        return self.whole if less is None else _failure(less, self.check, self.whole.faults)


def _children(model: nn.Module, name: str) -> list[str]:
    return [f"{name}.{child}".lstrip(".") for child, _ in model.get_submodule(name).named_children()]


def removable(model: nn.Module) -> list[str]:
    """The children of every `nn.Sequential` and `nn.ModuleList`, the outer before the inner."""
    return [
        f"{name}.{child}".lstrip(".")
        for name, module in model.named_modules()
        if isinstance(module, CONTAINERS)
        for child, _ in module.named_children()
    ]


def _copy_without(subject: Subject, names: Sequence[str]) -> Any | None:
    """The subject without some of its model's blocks; None when the rest doesn't run, or not to the same shape."""
    less = with_model(subject, lambda model: without(model, names))
    try:
        return less if less.get("outputs").shape == subject.get("outputs").shape else None
    except (Missing, UserCodeError, FirstfaultError):
        return None


def without(model: nn.Module, names: Sequence[str]) -> nn.Module:
    """The model, changed in place, without the named children of its containers; later children move up."""
    places = [(name.rpartition(".")[0], name.rpartition(".")[2]) for name in names]
    for above in dict.fromkeys(above for above, _ in places):
        container = model.get_submodule(above)
        children = list(dict(container.named_children()))
        for index in sorted((children.index(child) for parent, child in places if parent == above), reverse=True):
            del container[index]  # type: ignore[operator]
    return model


def _inner(names: list[str]) -> tuple[str, ...]:
    """Of some names those that hold none of the others."""
    return tuple(name for name in names if not any(other.startswith(f"{name}.") for other in names))
