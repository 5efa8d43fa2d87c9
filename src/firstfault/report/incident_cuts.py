"""The cuts of an incident's requests: at each, how much of what was served is not the offline truth's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firstfault.checks.data._served_marks import marks_of
from firstfault.checks.model._served_logits import answers_of
from firstfault.checks.preprocessing._served_skew import skew_of
from firstfault.errors import Missing
from firstfault.subject.replays import flips, known_in_both, replays
from firstfault.subject.subject import Subject

RED = 0.03


@dataclass(frozen=True)
class Rung:
    """One cut: what is compared there, the shares that differ before and now, and whether that is red."""

    cut: str
    compared: str
    before: float | None
    now: float | None
    state: str
    note: str = ""


def cuts_of(subject: Subject) -> list[Rung]:
    """raw → tensor → logits → label."""
    return [_raw(subject), _tensor(subject), _logits(subject), _label(subject)]


def _raw(subject: Subject) -> Rung:
    compared = "the incident's columns with the control's"
    marks = marks_of(subject)
    note = marks[0].message if marks else "no column is other than in the control"
    certain = any(mark.certain for mark in marks)
    return Rung("raw", compared, None, None, "red" if certain else "amber" if marks else "green", note)


def _tensor(subject: Subject) -> Rung:
    compared = "served tensors with the training's steps on the same raw requests"
    try:
        found = skew_of(subject)
    except Missing as reason:
        return Rung("tensor", compared, None, None, "grey", str(reason))
    return _rung("tensor", compared, found.control_share(0.01), found.share(0.01))


def _logits(subject: Subject) -> Rung:
    compared = "served scores with the offline model's to the same tensors"
    try:
        found = answers_of(subject)
    except Missing as reason:
        return Rung("logits", compared, None, None, "grey", str(reason))
    return _rung("logits", compared, found.control_share, found.share)


def _label(subject: Subject) -> Rung:
    compared = "served labels with what the served scores say"
    try:
        both = replays(subject)
        shares = [_unlike(side) for side in (both.control, both.incident)]
    except Missing as reason:
        return Rung("label", compared, None, None, "grey", str(reason))
    if shares[1] is None:
        return Rung("label", compared, None, None, "grey", "labels or scores were not recorded")
    return _rung("label", compared, shares[0], shares[1])


def _unlike(side: object) -> float | None:
    from firstfault.subject.replays import Side

    assert isinstance(side, Side)
    scores = side.served if np.isfinite(side.outputs).any() else side.replayed
    if side.truth.task != "classification" or side.said.shape != scores.shape:
        return None
    known = known_in_both(side.said, scores)
    return float(flips(side.said, scores)[known].mean()) if known.any() else None


def _rung(cut: str, compared: str, before: float | None, now: float) -> Rung:
    usual = before if before is not None and np.isfinite(before) else 0.0
    return Rung(cut, compared, before, now, "red" if now - usual > RED else "green")
