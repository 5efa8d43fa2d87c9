"""Where a training ceased to be finite, and whether smaller steps would have kept it so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from firstfault.check import Judgement, check, passed
from firstfault.checks.training._first_steps import follow
from firstfault.checks.training._record_summary import LARGE_FIRST, LARGE_STEP, LEAP
from firstfault.errors import Missing, UserCodeError
from firstfault.finding import Layer, Status
from firstfault.place import Kind, Place
from firstfault.probe.nonfinite_origin import LOSS, SET_BY_HAND
from firstfault.probe.record import Record
from firstfault.subject.subject import Subject

MOST_STEPS, MARGIN = 200, 10  # bounds the reruns to 4 of 410 steps; the margin is for a birth in the first steps
BIRTHPLACES = {
    "input": {"missing_values": 0.9, "nonfinite_loss": 0.95},
    "weight": {"learning_rate_too_high": 0.6, "nonfinite_loss": 0.95},
}
"""What a birth there is evidence for; the rate is but a suspicion until a smaller one stays finite."""


@check(layer=Layer.TRAINING, needs={"record"}, detects={"nonfinite_loss": 0.95})
def nonfinite_loss(subject: Subject) -> Iterator[Judgement]:
    """Find NaN or infinity in a training, and name the tensor that was the first to hold one.

    Measures: the step at which an input, an output, the loss, a gradient or a weight was first not finite.
    Fails when: there is such a step. Where that tensor was born says what it is evidence for: missing values, too high
        a learning rate, or numbers that are unstable. Where an update made it, or the steps before it were far too
        large, the training is run again for twice as many steps, at a tenth, a hundredth and a thousandth of its rate:
        one that then stays finite, and does not at its own rate, has the learning rate as its cause.
    Source: Amazon SageMaker Debugger, ExplodingTensor; no bound is needed. What a birthplace is evidence for is a
        choice of ours; tests/checks/training/test_rules.py holds the cases that it separates.
    """
    record = subject.record
    if record.first_nonfinite is None:
        yield passed(f"loss, gradients and weights stayed finite over {record.steps} steps")
        return
    step, kind, place = record.first_nonfinite
    tensor = (
        f"the output of module {place}"
        if kind == "activation" and place.kind is Kind.MODULE and place.note is None
        else place
    )
    faults = _suspects_of_birth(record, step, kind, place)
    text = f"the first non-finite tensor is {tensor} ({kind}), at step {step}"
    factor = _rate_that_stays_finite(subject, step) if "learning_rate_too_high" in faults else None
    if factor is not None:
        faults, text = (
            {"learning_rate_too_high": 0.92, "nonfinite_loss": 0.95},
            f"{text}; at {factor:g} times the learning rate it stays finite",
        )
    yield Judgement(
        Status.FAIL,
        text,
        value=step,
        threshold=record.steps,
        where=replace(place, step=step),
        faults=faults,
        fix="lower the learning rate"
        if factor is not None
        else "repair what makes the first non-finite tensor, not the loss",
    )


def _rate_that_stays_finite(subject: Subject, step: int) -> float | None:
    """The largest of three smaller rates at which a training stays finite well beyond a step that its own breaks at."""
    if step > MOST_STEPS:
        return None
    try:
        recipe, steps = subject.recipe, 2 * step + MARGIN
    except (Missing, UserCodeError):
        return None
    own = follow(recipe, subject.seed, steps)
    if own is None or own.finite:
        return None
    for factor in (0.1, 0.01, 0.001):
        seen = follow(recipe, subject.seed, steps, factor)
        if seen is not None and seen.finite and len(seen.losses) > step:
            return factor
    return None


def _suspects_of_birth(record: Record, step: int, kind: str, place: Place) -> dict[str, float]:
    """What the place of a birth, and the steps before it, are evidence for."""
    if place.note == SET_BY_HAND:
        return {"nonfinite_loss": 0.95}
    if kind in ("input", "weight"):
        return BIRTHPLACES[kind]
    if step > 1 and _strode(record, step):
        return {"learning_rate_too_high": 0.6, "nonfinite_loss": 0.95, "numerically_unstable": 0.3}
    in_model = kind != "loss" and place.names != LOSS.names
    return {"numerically_unstable": 0.6 if in_model else 0.4, "nonfinite_loss": 0.95}


def _strode(record: Record, step: int) -> bool:
    """Whether the steps before this one were far too large, or the loss leapt above its start."""
    ratios = [
        value for at, value in zip(record.update_ratio.steps, record.update_ratio.values, strict=True) if at < step
    ]
    losses = [
        value
        for at, value in zip(record.loss.steps, record.loss.values, strict=True)
        if at < step and math.isfinite(value)
    ]
    leapt = bool(losses) and max(losses) > LEAP * abs(losses[0]) + 1e-9
    return leapt or (bool(ratios) and (max(ratios) > LARGE_FIRST or float(np.median(ratios)) > LARGE_STEP))
