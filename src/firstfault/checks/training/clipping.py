"""Gradients that are there, and of which next to nothing reaches the optimizer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.training._first_steps import first_steps
from firstfault.checks.training._performance_gap import harmed
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

FEWEST = 8
ALIKE = 1e-3


@check(layer=Layer.TRAINING, needs={"record", "trained"}, detects={"gradient_clipped_away": 0.9})
def gradient_clipped_away(subject: Subject, *, remaining: float = 1e-3) -> Iterator[Judgement]:
    """Find clipping that leaves next to nothing of the gradient.

    `value` is the norm that is left: that of `clip_norm`; in the user's own loop, that of the gradients which the optimizer is given, where it is
    also less than `remaining` of what backward gave, in each of the first 3 steps. A loop that was only watched is judged by its record: the same
    tiny norm in every step is that of a clip. It is a fault where the training does not learn, or ends worse than a simple model: optimizers
    that divide by the size of the gradient can do with little.

    Source: DeepCrime, mutation of gradient clipping.
    """
    left = _left(subject, remaining)
    if left is None:
        yield skipped("no gradient was clipped")
        return
    value, text = left
    if value >= remaining:
        yield passed(text, value=value)
        return
    yield Judgement(
        Status.FAIL if harmed(subject) else Status.WARN,
        text,
        value=value,
        threshold=remaining,
        where=Place.setting("training.fit" if subject.training.fit is not None else "training.clip_norm"),
        fix="raise clip_norm to about 1, or drop it",
    )


def _left(subject: Subject, remaining: float) -> tuple[float, str] | None:
    """The norm that clipping leaves, and how it is known."""
    training, record = subject.training, subject.record
    if training.clip_norm is not None:
        return float(training.clip_norm), f"gradients are clipped to a norm of {training.clip_norm:g}"
    if training.fit is not None:
        return _in_fit(subject, remaining)
    norms = np.asarray(record.grad_norm.values, float)
    if (
        len(norms) < FEWEST
        or not np.isfinite(norms).all()
        or not norms.max() > 0
        or np.ptp(norms) > ALIKE * norms.max()
    ):
        return None
    return float(norms.max()), f"the gradient has a norm of {norms.max():.2g} in every step, which is that of a clip"


def _in_fit(subject: Subject, remaining: float) -> tuple[float, str] | None:
    seen = first_steps(subject)
    if seen is None or len(seen.raw) != len(seen.used) or not min(seen.raw) > 0:
        return None
    if any(used >= remaining * raw for used, raw in zip(seen.used, seen.raw, strict=True)):
        return None
    return max(
        seen.used
    ), f"backward gives a gradient of norm {max(seen.raw):.2g}, the optimizer gets {max(seen.used):.2g}"
