"""Requests side by side: what of each the monitors look at, made when one first asks for it."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.asked import Answer, answered, asked, plain
from firstfault.monitor.detect.table import Column, Schema, fields_of, kind_of
from firstfault.monitor.record import STAGES, Arm, Outcome, Record
from firstfault.monitor.sampling import draw

HOURS_OF_A_WEEK = 168


class Batch:
    """N requests of one model.

    Args:
        records: in the order of time.
        schema: the columns of the reference; left out, these records are the reference.
    """

    def __init__(self, records: Iterable[Record], schema: Schema | None = None) -> None:
        self.records = list(records)
        self._schema = schema
        self._seconds: dict[str, Array] = {}

    def __len__(self) -> int:
        return len(self.records)

    @functools.cached_property
    def times(self) -> Array:
        """Seconds since 1970 `(N,)`."""
        return np.array([record.time for record in self.records], dtype=float)

    @functools.cached_property
    def hours(self) -> Array:
        """The hour of the week of each `(N,)`, 0–167, in UTC."""
        return (self.times // 3600).astype(np.int64) % HOURS_OF_A_WEEK

    @functools.cached_property
    def uniform(self) -> Array:
        """Which are of the uniform sample `(N,)`: those alone say how values are distributed."""
        return np.array(list(map(is_uniform, self.records)), dtype=bool)

    @functools.cached_property
    def champions(self) -> Array:
        """Which the champion answered `(N,)`: a challenger's answers are to differ."""
        return np.array([record.arm is Arm.CHAMPION for record in self.records], dtype=bool)

    @functools.cached_property
    def share(self) -> float:
        """The share of the usual requests that the uniform sample keeps."""
        weights = [record.weight for record in self.records if record.reasons == ("sample",) and record.weight >= 1]
        return 1.0 / weights[0] if weights else 1.0

    @functools.cached_property
    def draws(self) -> Array:
        """A number in [0, 1) for each `(N,)`, by which ties are broken, the same whenever it is looked at."""
        return np.array([draw(record.request_id, b"ties") for record in self.records])

    def ended(self, *outcomes: Outcome) -> Array:
        """Which ended in one of these ways `(N,)`, as 0.0 and 1.0."""
        return np.array([record.outcome in outcomes for record in self.records], dtype=float)

    def seconds(self, stage: str) -> Array:
        """How long a stage took `(N,)`; `rest` is the total without all stages."""
        if stage not in self._seconds:
            self._seconds[stage] = self._seconds_of(stage)
        return self._seconds[stage]

    def _seconds_of(self, stage: str) -> Array:
        if stage == "rest":
            stages = np.stack([self.seconds(name) for name in STAGES])
            return np.asarray(self.seconds("total") - np.nansum(stages, axis=0))
        if stage == "total":  # of an answer in parts, what comes after the first is the client's time too
            return _floats([one.stages.total if one.stream is None else one.stream.first for one in self.records])
        return _floats([getattr(record.stages, stage) for record in self.records])

    @functools.cached_property
    def confidence(self) -> Array:
        """How sure each answer is `(N,)`, NaN where it is not known."""
        return _floats([record.confidence for record in self.records])

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The input of each, as named values."""
        return [fields_of(asked(record)) for record in self.records]

    @functools.cached_property
    def schema(self) -> Schema:
        """The columns of the inputs."""
        return self._schema or Schema([row for row, counts in zip(self.rows, self.uniform, strict=True) if counts])

    @functools.cached_property
    def numbers(self) -> Array:
        """The numbers of the inputs `(N, D)`."""
        return self.schema.table(self.rows)

    @functools.cached_property
    def features(self) -> Array:
        """Numbers and categories of the inputs `(N, D + C)`."""
        return np.concatenate([self.numbers, self.schema.indicators(self.rows)], axis=1)

    @functools.cached_property
    def answers(self) -> list[Answer]:
        """The answer to each."""
        return [answered(record) for record in self.records]

    @functools.cached_property
    def classes(self) -> list[str | None]:
        """The class of each answer as text, None where it has none: 1, 1.0, True and "1" are the same one."""
        return [None if answer.label is None else plain(answer.label) for answer in self.answers]

    @functools.cached_property
    def truths(self) -> list[str | None]:
        """The labels that have come, in the same words."""
        return [None if record.label is None else plain(record.label) for record in self.records]

    def unknown(self, column: Column) -> Array:
        """Which have a category of that column that the reference does not have `(N,)`."""
        found = [
            kind_of(value := row.get(column.name)) in ("text", "truth") and str(value) not in column.known
            for row in self.rows
        ]
        return np.array(found, dtype=bool)

    def part(self, which: Array) -> Batch:
        """Some of the requests, by their places or by truth values."""
        places = np.flatnonzero(which) if which.dtype == bool else which
        return Batch([self.records[place] for place in places], self.schema)


def is_uniform(record: Record) -> bool:
    """Whether a request is of the uniform sample."""
    return not record.reasons or "sample" in record.reasons


def _floats(values: list[float | None]) -> Array:
    found = np.array([math.nan if value is None else value for value in values], dtype=float)
    found[~np.isfinite(found)] = math.nan
    return found
