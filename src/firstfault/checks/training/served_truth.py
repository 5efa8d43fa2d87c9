"""Checks of an incident whose every cut is right, and whose labels say that its answers are worse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import check
from firstfault.checks.training._recent_window import Window, window_of
from firstfault.finding import Layer, Status
from firstfault.judgement import Judgement, passed, skipped
from firstfault.subject.harm import lower
from firstfault.subject.incident import incident
from firstfault.subject.replays import agreement, replays
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind


@check(
    layer=Layer.TRAINING,
    needs={incident, window_of},
    detects={"concept_drift": 0.8, "label_drift": 0.8, "model_decay": 0.8, "feedback_loop": 0.8},
    kind=SubjectKind.INCIDENT,
)
def served_truth(
    subject: Subject, *, parity: float = 0.9, p_value: float = 0.01, drop: float = 0.02
) -> Iterator[Judgement]:
    """Find that the trained model itself is wrong about recent requests, by the labels that came.

    Measures: the share of right answers of the offline model on the labelled requests, against the control's; whether
        it falls within the incident, whether the classes' shares moved, and whether labels depend on the answers.
    Fails when: it is lower by more than `drop` with a `p_value` below .01, and at least `parity` of the answers are the
        offline model's, so that nothing between request and answer is at fault.
    Not a fault when: too few labels came, or served answers are not the model's own.
    Source: Gama et al. 2014, A Survey on Concept Drift Adaptation; Sculley et al. 2015, feedback loops.
    """
    window, both = window_of(subject), replays(subject)
    same = agreement(both.incident)
    if np.isfinite(same) and same < parity:
        yield skipped(f"{1 - same:.0%} of the answers are not the offline model's, so that labels say nothing of it")
        return
    before, now = window.before, window.now
    loop = window.one_answer
    if loop > 0.5:
        yield Judgement(
            Status.FAIL,
            f"labels come for one answer far more than for another (by {loop:.0%} more than in the control)",
            loop,
            0.5,
            faults={"feedback_loop": 0.8},
        )
        return
    if len(before) < 20:
        yield skipped("the control has too few labels to compare with")
        return
    p, less = lower(before, now), float(before.mean() - now.mean())
    told = f"right answers {before.mean():.3f} → {now.mean():.3f} by {len(now)} labels (p = {p:.2g})"
    if p > p_value or less <= drop:
        yield passed(told, value=float(now.mean()))
        return
    fault, why = _named(window)
    yield Judgement(Status.FAIL, f"{told}; {why}", float(now.mean()), float(before.mean()), faults={fault: 0.8})


def _named(window: Window) -> tuple[str, str]:
    if window.falls:
        return "model_decay", "they become fewer from the incident's beginning to its end"
    if not window.regression and window.labels_moved < 1e-3 and window.same_within_classes:
        shares = ", ".join(
            f"{name!r} {before:.0%} → {now:.0%}"
            for name, before, now in zip(window.truth.classes[:4], *window.shares, strict=False)
        )
        return "label_drift", f"samples of each class are answered as before, and their shares moved: {shares}"
    return "concept_drift", "requests and cuts are as they were: the same inputs have other labels"
