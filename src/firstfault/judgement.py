"""Judging a measurement: beyond a bound or not, a failure or a warning, with the place and the remedy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from firstfault.finding import Status
from firstfault.place import Place


@dataclass(frozen=True)
class Judgement:
    """One judged measurement, before it carries the name and layer of its check."""

    status: Status
    message: str
    value: object = None
    threshold: object = None
    where: Place | None = None
    faults: Mapping[str, float] | None = None
    fix: str | None = None
    artifacts: tuple[str, ...] = ()


def judge(
    value: float,
    *,
    message: str,
    above: float | None = None,
    below: float | None = None,
    otherwise: Status = Status.FAIL,
    where: Place | None = None,
    fix: str | None = None,
    faults: Mapping[str, float] | None = None,
    artifacts: tuple[str, ...] = (),
) -> Judgement:
    """Judge one number: it passes unless it lies `above` or `below` the given bound.

    NaN lies beyond every bound. `otherwise` is the status of a value beyond the bound (`fail` or
    `warn`); `faults` overrides what the check's `detects` says this finding is evidence for.

    Raises:
        ValueError: when not exactly one of `above` and `below` is given.
    """
    if (above is None) == (below is None):
        raise ValueError("judge takes exactly one of `above` and `below`")
    bound = above if above is not None else below
    assert bound is not None
    beyond = value > bound if above is not None else value < bound
    bad = beyond or math.isnan(value)
    return Judgement(
        status=otherwise if bad else Status.PASS,
        message=message,
        value=value,
        threshold=bound,
        where=where,
        fix=fix if bad else None,
        faults=faults,
        artifacts=artifacts,
    )


def passed(message: str, *, value: object = None, where: Place | None = None) -> Judgement:
    """A judgement that all is well."""
    return Judgement(Status.PASS, message, value=value, where=where)


def skipped(reason: str, *, where: Place | None = None) -> Judgement:
    """A judgement that there was nothing to judge, and why."""
    return Judgement(Status.SKIPPED, reason, where=where)
