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


@check(layer=Layer.TRAINING, needs={"record", "trained"}, detects={"gradient_clipped_away": 0.9})
def gradient_clipped_away(
    subject: Subject, *, remaining: float = 1e-3, fewest: int = 8, alike: float = 1e-3
) -> Iterator[Judgement]:
    """Find clipping that leaves next to nothing of the gradient.

    Measures: the norm that is left: `clip_norm`; in the user's own loop, that of the gradients which the optimizer is
        given, where it gets less than `remaining` of what backward gave in each of the first 3 steps; in a loop that
        was only watched, what clip_grad_norm_ or clip_grad_value_ leaves, or a norm that at least `fewest` sampled
        steps share, to within `alike` of it: that of another clip.
    Fails when: the norm is below `remaining`, and the training breaks, learns nothing, or ends worse than a simple
        model.
    Warns when: the norm is below `remaining`: optimizers that divide by the size of the gradient can do with little.
    Source: DeepCrime, mutation of gradient clipping; benchmarks/localise.py, fault gradient_clipped_away, clips to
        1e-5, where 1 is usual. The bounds are a choice of ours.
    """
    left = _left(subject, remaining, fewest, alike)
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


def _left(subject: Subject, remaining: float, fewest: int, alike: float) -> tuple[float, str] | None:
    """The norm that clipping leaves, and how it is known."""
    training, record = subject.training, subject.record
    if training.clip_norm is not None:
        return float(training.clip_norm), f"gradients are clipped to a norm of {training.clip_norm:g}"
    if training.fit is not None:
        return _in_fit(subject, remaining)
    if len(record.clipped):
        most = max(record.clipped.values)
        return most, f"gradients are clipped to a norm of {most:.2g}"
    norms = np.asarray(record.grad_norm.values, float)
    if (
        len(norms) < fewest
        or not np.isfinite(norms).all()
        or not norms.max() > 0
        or np.ptp(norms) > alike * norms.max()
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
