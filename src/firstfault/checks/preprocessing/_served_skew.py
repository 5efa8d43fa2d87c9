"""How served tensors differ from those that the training's fitted steps make of the same raw requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.checks.preprocessing._prepared_names import prepared_names
from firstfault.checks.preprocessing._swapped_columns import swapped
from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.subject.memo import memo
from firstfault.subject.raw_rows import rows_of
from firstfault.subject.replays import Side, replays
from firstfault.subject.subject import Subject
from firstfault.values import is_number

EXACT = 0.98
"""Of the variance of a served column that a map of the right one must explain."""
MOST_COLUMNS = 400
"""Each is compared with each over 200 rows: 256 MB of float64."""
MOVING = 10
"""Columns of most variety, by which it is told whether a column's own value decides what it becomes."""
ROUGH = 0.05
"""Neighbours in a column lie less far apart, in distances of any two samples, where the column alone decides."""


@dataclass
class Skew:
    """Both tensors of both sides, flat `(N, D)`; `step` is the first step from which on they differ, where known."""

    subject: Subject
    side: Side
    ours: Array
    served: Array
    control_ours: Array
    control_served: Array
    spread: Array
    names: list[str]
    step: str = ""

    def _differ(self, ours: Array, served: Array, tolerance: float) -> Array:
        known = np.isfinite(ours) & np.isfinite(served)
        apart = np.abs(np.where(known, ours - served, 0.0)) > tolerance * self.spread
        return np.asarray(apart & known)

    def share(self, tolerance: float) -> float:
        """The share of the incident's samples whose tensor differs."""
        rows = np.isfinite(self.served).all(1) & np.isfinite(self.ours).all(1)
        return float(self._differ(self.ours, self.served, tolerance)[rows].any(1).mean()) if rows.any() else 0.0

    def control_share(self, tolerance: float) -> float:
        """The same of the control; 0 where its tensors were not seen."""
        rows = np.isfinite(self.control_served).all(1) & np.isfinite(self.control_ours).all(1)
        if not rows.any():
            return 0.0
        return float(self._differ(self.control_ours, self.control_served, tolerance)[rows].any(1).mean())

    def columns(self, share: float, tolerance: float) -> list[int]:
        """The columns in which more of the incident's samples differ than of the control's."""
        now = self._differ(self.ours, self.served, tolerance)
        before = self._differ(self.control_ours, self.control_served, tolerance)
        more = now.mean(0) - (before.mean(0) if len(before) else 0.0)
        return [int(place) for place in np.flatnonzero(more > share)]

    def explained(self, wrong: Sequence[int]) -> tuple[str, str]:
        """The fault, and a sentence: which skipped step, order, batch or map the served tensors are."""
        rows = np.asarray(np.isfinite(self.served).all(1) & np.isfinite(self.ours).all(1))
        ours, served = self.ours[rows], self.served[rows]
        bad = np.asarray(self._differ(ours, served, 0.01).any(1))
        found = (
            self._tokens(ours)
            or self._stage(rows, bad)
            or self._order(ours[bad], served[bad])
            or self._swapped(np.flatnonzero(rows)[bad])
            or self._by_batch(rows)
            or self._raw(np.flatnonzero(rows)[bad][:200], wrong)
            or self._with_others(ours[bad], served[bad], wrong)
            or self._map(ours[bad], served[bad], wrong)
        )
        return found or ("train_serve_skew", f"the columns {self._told(wrong)} differ")

    def _told(self, wrong: Sequence[int]) -> str:
        return ", ".join(self.names[place] for place in wrong[:4]) + (" …" if len(wrong) > 4 else "")

    def _tokens(self, ours: Array) -> tuple[str, str] | None:
        x = self.subject.recipe.train.x
        if x.is_floating_point() or x.ndim != 2 or not any(isinstance(value, str) for value in _texts(self.side)):
            return None
        rows = np.asarray(np.isfinite(self.served).all(1) & np.isfinite(self.ours).all(1))
        other = self.served[rows][self.served[rows] != ours]
        if len(other) and len(np.unique(other)) == 1:
            return "train_serve_skew", "the same texts end sooner: they are cut, and padded"
        return "tokenizer_mismatch", "the same texts became other tokens"

    def _stage(self, rows: Array, bad: Array) -> tuple[str, str] | None:
        """Whether they are what an earlier step leaves: the later ones were left out."""
        steps = self.subject.pipeline.steps
        chosen = np.flatnonzero(rows)[bad][:200]
        raw = [self.side.raw[place] for place in chosen]
        for count in range(len(steps)):
            try:
                early = np.asarray(self.side.truth.prepared(raw, count), dtype=float).reshape(len(raw), -1)
            except (Missing, ValueError, TypeError):
                continue
            served = self.served[chosen]
            if early.shape == served.shape and np.isclose(early, served, rtol=1e-3, atol=1e-4).mean() > 0.95:
                self.step = steps[count][0]
                return "missing_normalisation", f"they are the requests without the step {self.step!r}"
        return self._without_one(raw, chosen)

    def _without_one(self, raw: list[Any], chosen: Array) -> tuple[str, str] | None:
        """Whether one step in the middle was left out."""
        steps = self.subject.pipeline.steps
        for left_out, (name, _) in enumerate(steps):
            try:
                X = self.side.truth.framed(raw)
                for place, (_, step) in enumerate(steps):
                    X = X if place == left_out else step(X)
                made = np.asarray(X, dtype=float).reshape(len(raw), -1)
            except Exception:  # a step that needs the one before it
                continue
            if (
                made.shape == self.served[chosen].shape
                and np.isclose(made, self.served[chosen], rtol=1e-3, atol=1e-4).mean() > 0.95
            ):
                self.step = name
                return "missing_normalisation", f"they are the requests without the step {name!r}"
        return None

    def _raw(self, chosen: Array, wrong: Sequence[int]) -> tuple[str, str] | None:
        """Whether the wrong columns are numbers of the raw request as they came."""
        rows = rows_of([self.side.raw[place] for place in chosen])
        if len(rows) != len(chosen) or len(rows) < 10:
            return None
        names = [name for name in rows[0] if all(is_number(row.get(name)) for row in rows)]
        raw = np.array([[row[name] for name in names] for row in rows], dtype=float).reshape(len(rows), -1)
        served = self.served[chosen]
        plain = [
            self.names[place]
            for place in wrong
            if any(
                np.isclose(raw[:, k], served[:, place], rtol=1e-3, atol=1e-4).mean() > 0.95 for k in range(len(names))
            )
        ]
        if len(plain) < max(1, 0.5 * len(wrong)):
            return None
        return "missing_normalisation", f"{', '.join(plain[:4])} went in as the request holds it"

    def _order(self, ours: Array, served: Array) -> tuple[str, str] | None:
        """Whether they are the right columns in another order."""
        width = ours.shape[1]
        if not 1 < width <= MOST_COLUMNS or len(ours) < 10:
            return None
        apart = np.abs(served[:200, :, None] - ours[:200, None, :]).mean(0) / self.spread[None, :]
        twin = apart.argmin(1)
        close = apart[np.arange(width), twin] < 0.01
        moved = int((close & (twin != np.arange(width)) & (apart[np.arange(width), np.arange(width)] > 0.05)).sum())
        if close.mean() < 0.95 or moved < 2 or len(set(twin[close])) < close.sum() - 1:
            return None
        if self.subject.recipe.train.x.ndim != 2:
            return "train_serve_skew", f"{moved} values of each sample stand in another place"
        return "schema_mismatch", f"{moved} columns stand in another order"

    def _swapped(self, chosen: Array) -> tuple[str, str] | None:
        """Whether columns of the request stood in for one another before the first step."""
        raw = [self.side.raw[place] for place in chosen]
        found = swapped(self.side.truth, raw, self.served[chosen], 0.01 * self.spread)
        if not found:
            return None
        told = ", ".join(f"{name} holds {other}" for name, other in list(found.items())[:3])
        more = " …" if len(found) > 3 else ""
        return "schema_mismatch", f"columns of the request stand in each other's place: {told}{more}"

    def _by_batch(self, rows: Array) -> tuple[str, str] | None:
        """Whether they were scaled by the statistics of their own request, instead of the training's."""
        groups: dict[int, list[int]] = {}
        for place in np.flatnonzero(rows):
            request, _ = self.side.samples[place]
            groups.setdefault(id(request), []).append(int(place))
        right = total = 0
        for places in groups.values():
            if len(places) >= 4:
                ours, served = self.ours[places], self.served[places]
                scaled = (ours - ours.mean(0)) / np.maximum(ours.std(0), 1e-9)
                moving = ours.std(0) > 1e-9
                total += 1
                right += bool(np.isclose(scaled[:, moving], served[:, moving], rtol=0.05, atol=0.05).mean() > 0.9)
        if total < 3 or right < 0.5 * total:
            return None
        return "batch_dependence", "each request was scaled by the mean and deviation of its own batch"

    def _with_others(self, ours: Array, served: Array, wrong: Sequence[int]) -> tuple[str, str] | None:
        """Whether equal values of a column came out different: what they become depends on who came with them."""
        if len(ours) < 40:
            return None
        moving = sorted(wrong, key=lambda place: -_variety(ours[:, place]))[:MOVING]
        moving = [place for place in moving if ours[:, place].std() > 1e-6 and served[:, place].std() > 1e-6]
        rough = [_roughness(ours[:, place], served[:, place]) for place in moving]
        if (
            not rough
            or np.median(rough) < max(ROUGH, 8 / len(ours))
            or _from_its_own_sample(ours, served[:, moving]) > EXACT
        ):
            return None
        return "batch_dependence", "the same value of a column comes out different each time, as by its batch"

    def _map(self, ours: Array, served: Array, wrong: Sequence[int]) -> tuple[str, str] | None:
        """Whether each column is the right one, scaled and shifted: a step that was fitted on other data."""
        if len(ours) < 10:
            return None
        maps = []
        for place in wrong:
            x, y = ours[:, place], served[:, place]
            if x.std() < 1e-9:
                continue
            slope, shift = np.polyfit(x, y, 1)
            left = float(np.var(y - slope * x - shift) / max(float(np.var(y)), 1e-12))
            maps.append((left < 1 - EXACT, float(slope), float(shift), self.names[place]))
        if not maps or np.mean([fits for fits, *_ in maps]) < 0.8:
            return None
        slopes = np.array([slope for _, slope, _, _ in maps])
        _, slope, shift, name = max(maps, key=lambda each: abs(each[1] - 1) + abs(each[2]))
        told = f"{name} is {slope:.3g} times what it should be, {shift:+.3g}"
        if len(maps) > 1 and np.ptp(slopes) < 0.02 * abs(slopes.mean()) and not 0.5 < slopes.mean() < 2:
            return "missing_normalisation", f"every column is {slopes.mean():.4g} times what it should be"
        return "train_serve_skew", f"a step was fitted on other data, since {told}"


def _variety(values: Array) -> float:
    """How many samples don't have the most frequent value of a column."""
    _, counts = np.unique(values, return_counts=True)
    return float(len(values) - counts.max())


def _roughness(ours: Array, served: Array) -> float:
    """How far samples with neighbouring values lie apart once served, against any two of them; 0 for a map."""
    order = np.argsort(ours, kind="stable")
    steps = np.abs(np.diff(served[order]))
    shuffled = np.abs(np.diff(np.random.default_rng(0).permutation(served)))
    return float(np.mean(steps) / max(float(np.mean(shuffled)), 1e-9))


def _from_its_own_sample(ours: Array, served: Array) -> float:
    """How much of served columns a linear map of the whole right sample explains: pixels moved, columns mixed."""
    from sklearn.linear_model import Ridge

    half = len(ours) // 2
    if half < 1.2 * ours.shape[1]:
        return 0.0
    model = Ridge(1e-3).fit(ours[:half], served[:half])
    left = ((model.predict(ours[half:]) - served[half:]) ** 2).mean(0) / np.maximum(served[half:].var(0), 1e-12)
    return float(1 - np.median(left))


def _texts(side: Side) -> list[Any]:
    found = []
    for value in side.raw[:50]:
        found += list(value.values()) if isinstance(value, dict) else [value]
    return found


@memo(of="trained")
def skew_of(subject: Subject) -> Skew:
    """The served tensors of the incident beside those of the training's steps.

    Raises:
        Missing: when raw requests or tensors were not recorded, or no target is given.
    """
    both = replays(subject)
    if both.masked and both.why_not:
        raise Missing(both.why_not)
    side, control = both.incident, both.control
    served = _flat(side.tensors)
    ours = _flat(side.prepared)
    try:
        control_served, control_ours = _flat(control.tensors), _flat(control.prepared)
    except Missing:
        control_served = control_ours = np.zeros((0, ours.shape[1]))
    x = subject.recipe.train.x
    train = _flat(x[:5000].float().numpy())
    spread = np.maximum(np.nanstd(train, axis=0), 1e-6) if x.is_floating_point() else np.full(train.shape[1], 1e-6)
    return Skew(
        subject, side, ours, served, control_ours, control_served, spread, prepared_names(subject, ours.shape[1])
    )


def _flat(values: Array) -> Array:
    return values.reshape(len(values), -1)
