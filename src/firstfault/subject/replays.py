"""An incident's requests, and those of its control, sent through the offline truth again, beside what was served."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.subject.incident import Evidence, Requests, incident
from firstfault.subject.memo import memo
from firstfault.subject.offline import Offline, offline
from firstfault.subject.raw_rows import masked_in
from firstfault.subject.subject import Subject

MOST_ROWS = 2_000
"""Rows of each side that are replayed, evenly spaced: a share is known to .02 by then."""
CLOSE = 0.01
"""Scores that differ by less are the same answer: float16 moves probabilities by some .001."""
ALIKE = 0.9
"""A target that gives fewer of its healthy answers again is not what served."""


class Side:
    """The samples of an incident, or of its control; arrays have a row for each, NaN where it was not seen."""

    def __init__(self, truth: Offline, requests: Requests, align: Callable[[Array], Array] | None = None) -> None:
        self.truth, self.requests = truth, requests
        picked = np.unique(np.linspace(0, len(requests.samples) - 1, MOST_ROWS).astype(int))
        self._picked = picked if len(requests.samples) else np.array([], dtype=int)
        self.align = align or _first_form(truth)

    def __len__(self) -> int:
        return len(self._picked)

    def values(self, cut: str) -> list[Any]:
        """The values of the samples at a cut."""
        values = self.requests.values(cut)
        return [values[place] for place in self._picked]

    @functools.cached_property
    def samples(self) -> list[tuple[Any, int]]:
        """The request of each sample, and its place in it."""
        return [self.requests.samples[place] for place in self._picked]

    @functools.cached_property
    def raw(self) -> list[Any]:
        """The raw samples; what was masked of them is replaced by what the training data have most often."""
        return [_unmasked(value, self.truth) for value in self.values("raw")]

    @functools.cached_property
    def prepared(self) -> Array:
        """The raw samples through the training's steps."""
        return self.scattered(self.raw, self.truth.prepared)

    @functools.cached_property
    def tensors(self) -> Array:
        """The tensors that were served."""
        return self.scattered(self.values("tensor"), self.truth.tensor)

    @functools.cached_property
    def replayed(self) -> Array:
        """The scores that the offline truth gives to the raw samples; to their tensors where these alone are known."""
        if any(value is not None for value in self.raw) and self.truth.subject.target.prepare is None:
            return self.answers(self.prepared)
        return self.from_tensors

    @functools.cached_property
    def from_tensors(self) -> Array:
        """The scores that the offline model gives to the tensors that were served."""
        return self.answers(self.tensors)

    def answers(self, x: Array, model: Any = None) -> Array:
        """The scores of a model on prepared inputs, NaN for those that are not known."""
        known = np.isfinite(x.reshape(len(x), -1)).all(1) if len(x) else np.zeros(0, bool)
        if not known.any():
            raise Missing("neither raw samples nor tensors were recorded, so that nothing can be replayed")
        scores = self.truth.scores(self.truth.outputs(x[known], model))
        found = np.full((len(x), scores.shape[1]), np.nan)
        found[known] = scores
        return found

    @functools.cached_property
    def outputs(self) -> Array:
        """The logits that were served, as they were recorded; of numbers, the answer where no logits were seen."""
        seen = _table(self.values("logits"))
        if self.truth.task != "regression":
            return seen
        said = _table(self.values("label"))
        return np.where(np.isfinite(seen[:, :1]), seen[:, :1], said[:, :1])

    @functools.cached_property
    def served(self) -> Array:
        """The scores that were served: of the logits where they were seen, else of the labels."""
        if np.isfinite(self.outputs).any():
            return self.align(self.outputs)
        return self.said

    @functools.cached_property
    def said(self) -> Array:
        """The labels that were served, as scores that are sure of themselves."""
        return self._scores_of(self.values("label"))

    @functools.cached_property
    def true(self) -> Array:
        """The labels that came later, as scores."""
        return self._scores_of(self.values("truth"))

    def _scores_of(self, labels: Sequence[Any]) -> Array:
        if self.truth.task == "regression":
            return _table(labels)[:, :1] / self.truth.scale
        width = max(len(self.truth.classes), 2)
        places = {str(name): place for place, name in enumerate(self.truth.classes)}
        found = np.full((len(labels), width), np.nan)
        for row, label in enumerate(labels):
            place = place_of(label, places)
            if place is not None:
                found[row] = np.eye(width)[place]
        return found

    def scattered(self, values: Sequence[Any], make: Callable[[Sequence[Any]], Array]) -> Array:
        """What is made of the values that are known, at their places."""
        known = [place for place, value in enumerate(values) if value is not None]
        if not known:
            raise Missing("no value of that cut was recorded")
        made = make([values[place] for place in known])
        found = np.full((len(values), *made.shape[1:]), np.nan)
        found[known] = made
        return found


def place_of(label: Any, places: dict[str, int]) -> int | None:
    """The place of a label among the classes, which JSON may have made a text, a float or a truth value."""
    if label is None:
        return None
    names = [str(label)]
    if isinstance(label, float) and label.is_integer():
        names.append(str(int(label)))
    if isinstance(label, bool):
        names.append(str(int(label)))
    if isinstance(label, int) and not isinstance(label, bool):
        names.append(str(float(label)))
    return next((places[name] for name in names if name in places), None)


def _table(values: Sequence[Any]) -> Array:
    """Numbers of each sample in a row; NaN where there are none, or not as many as of the others."""
    rows = [_numbers(value) for value in values]
    width = max((len(row) for row in rows), default=0)
    found = np.full((len(rows), max(width, 1)), np.nan)
    for place, row in enumerate(rows):
        if len(row) == width and width:
            found[place] = row
    return found


def _numbers(value: Any) -> Array:
    try:
        return np.asarray(value, dtype=float).reshape(-1) if value is not None else np.zeros(0)
    except (TypeError, ValueError):
        return np.zeros(0)


def _forms(truth: Offline) -> list[Callable[[Array], Array]]:
    """What recorded outputs may be: logits, probabilities, or the probability of the second of two classes."""
    if truth.task == "regression":
        return [lambda values: values[:, :1] / truth.scale]
    return [truth.scores, _as_they_are, _second_of_two, lambda values: np.exp(np.minimum(values, 0.0))]


def _as_they_are(values: Array) -> Array:
    return np.stack([1 - values[:, 0], values[:, 0]], axis=1) if values.shape[1] == 1 else values


def _second_of_two(values: Array) -> Array:
    return _as_they_are(values[:, -1:])


def _first_form(truth: Offline) -> Callable[[Array], Array]:
    return _forms(truth)[0]


def differ(first: Array, second: Array) -> Array:
    """Which rows are another answer: scores that differ by more than a hundredth; rows not known in both are not."""
    if first.shape != second.shape:
        return np.zeros(len(first), dtype=bool)
    known = np.isfinite(first).all(1) & np.isfinite(second).all(1)
    return np.asarray(known & (np.abs(first - second).max(1, initial=0.0) > CLOSE))


def known_in_both(first: Array, second: Array) -> Array:
    """Which rows are known in both."""
    return np.asarray(np.isfinite(first).all(1) & np.isfinite(second).all(1))


def flips(first: Array, second: Array) -> Array:
    """Which rows have another label."""
    known = known_in_both(first, second)
    return np.asarray(known & (np.nan_to_num(first).argmax(1) != np.nan_to_num(second).argmax(1)))


class Replays:
    """Both sides of an incident, and how well the offline truth gives the healthy answers again."""

    def __init__(self, evidence: Evidence, truth: Offline) -> None:
        self.evidence, self.truth = evidence, truth
        self.incident = Side(truth, evidence.requests.answered.fair)
        self.control = Side(truth, evidence.control.answered.fair)
        form = self._form()
        self.incident.align = self.control.align = form

    def _form(self) -> Callable[[Array], Array]:
        """The form of recorded outputs in which they are closest to the offline truth."""
        side = self.control if np.isfinite(self.control.outputs).any() else self.incident
        forms = _forms(self.truth)
        if not np.isfinite(side.outputs).any():
            return forms[0]
        apart = [_apart(form, side) for form in forms]
        return forms[int(np.argmin(apart))]

    @functools.cached_property
    def parity(self) -> float:
        """The share of the control's answers that the offline truth gives too, 0–1; NaN where none can be compared."""
        return agreement(self.control)

    @functools.cached_property
    def masked(self) -> tuple[str, ...]:
        """The columns in which personal values were masked."""
        rows = self.incident.values("raw")[:200]
        return tuple(dict.fromkeys(name for row in rows for name in masked_in(row)))

    @property
    def why_not(self) -> str:
        """Why a replay proves nothing here; empty where it does."""
        if self.parity >= ALIKE or not np.isfinite(self.parity):
            return ""
        if self.masked:
            return f"unproven: the column {', '.join(self.masked)} is masked"
        return (
            f"unproven: of the control's healthy answers the target gives {self.parity:.0%} again, so that it is not "
            "what served them, or has changed since"
        )


def agreement(side: Side) -> float:
    """The share of a side's answers that the offline truth gives too: the same scores, or else the same label."""
    served, replayed = side.served, side.replayed
    known = known_in_both(served, replayed) if served.shape == replayed.shape else np.zeros(len(served), bool)
    if not known.any():
        return float("nan")
    by_scores = np.isfinite(side.outputs).any() or side.truth.task == "regression"
    wrong = differ(served, replayed) if by_scores else flips(served, replayed)
    return float(1 - wrong[known].mean())


def _apart(form: Callable[[Array], Array], side: Side) -> float:
    with np.errstate(all="ignore"):
        served = form(side.outputs)
    replayed = side.replayed
    if served.shape != replayed.shape:
        return np.inf
    known = known_in_both(served, replayed)
    return float(np.median(np.abs(served - replayed)[known])) if known.any() else np.inf


@memo(of="trained")
def replays(subject: Subject) -> Replays:
    """The replays of the incident under examination.

    Raises:
        Missing: when there is no offline truth, or nothing that can be sent through it.
    """
    return Replays(incident(subject), offline(subject))


def _unmasked(row: Any, truth: Offline) -> Any:
    names = masked_in(row) if isinstance(row, dict) else []
    return {**row, **{name: _usual(truth, name) for name in names}} if names else row


def _usual(truth: Offline, name: str) -> Any:
    if not isinstance(truth.example, pd.DataFrame) or name not in truth.columns:
        return None
    found = truth.example[name].mode(dropna=True)
    return found.iloc[0] if len(found) else None
