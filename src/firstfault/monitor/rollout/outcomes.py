"""The recorded outcomes of one arm, read from lines of JSON: the monitor's records, or lines of anybody's own.

A line has an id (`request_id` or `id`), a `time` in seconds, and at least one of:
bad        whether it went badly; else `outcome` ("error" and "refused" are bad) or `status` (400 and above is bad)
seconds    how long it took; else `total` of `stages`
score      how good the answer was, more is better; else `confidence`
cuts       a hash per cut, by which the first that differs is found
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firstfault.errors import FirstfaultError
from firstfault.metrics import Array
from firstfault.values import is_finite

BAD_OUTCOMES, BAD_STATUS = ("error", "refused"), 400
"""A challenger that refuses what the champion answers is no success."""
CUTS = ("raw", "tensor", "logits", "label")


@dataclass(frozen=True)
class Outcomes:
    """The requests of one arm in the order of time: ids, times, and what was measured of each, NaN where it was not.

    Attributes:
        units: by what each request's arm was drawn, where several may have the same; by default each by itself.
        weight: for how many requests each stands; by default for itself.
        sampled: whether each belongs to a uniform sample of all; by default all do.
    """

    ids: tuple[str, ...]
    time: Array
    bad: Array
    seconds: Array
    score: Array
    cuts: tuple[Mapping[str, str], ...] = ()
    torn: int = 0
    units: tuple[str, ...] = ()
    weight: Array | None = None
    sampled: Array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def measured(self, name: str) -> bool:
        """Whether any request has that measure: an answer that failed has no score."""
        return bool((~np.isnan(getattr(self, name))).any())

    @property
    def weights(self) -> Array:
        """For how many requests each stands."""
        return np.ones(len(self)) if self.weight is None else self.weight

    @property
    def in_sample(self) -> Array:
        """Whether each belongs to a uniform sample."""
        return np.ones(len(self), dtype=bool) if self.sampled is None else self.sampled


def read(path: Path) -> Outcomes:
    """The outcomes in a file; a last line without an end, as a kill leaves it, is counted and left out.

    Raises:
        FirstfaultError: for a file that can't be read, or a line that is no outcome.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FirstfaultError(f"{path} must be a file of JSON lines, but it can't be read: {error}") from error
    whole, _, rest = text.rpartition("\n")
    rows, torn = [], 0
    for number, line in enumerate([*whole.split("\n"), rest], 1):
        if not line.strip():
            continue
        try:
            rows.append(_row(json.loads(line)))
        except (ValueError, TypeError) as error:
            if line is rest:
                torn = 1
                continue
            raise FirstfaultError(f"line {number} of {path} must be the outcome of a request, but {error}") from error
    return _outcomes(rows, torn, path)


def _row(line: Any) -> tuple[str, float, float, float, float, Mapping[str, str]]:
    if not isinstance(line, dict):
        raise TypeError(f"it is no JSON object: {str(line)[:40]!r}")
    name = line.get("request_id", line.get("id"))
    if not isinstance(name, str | int):
        raise TypeError("it has neither `request_id` nor `id`")
    stages = line.get("stages")
    seconds = line.get("seconds", stages.get("total") if isinstance(stages, dict) else None)
    score = line.get("score", line.get("confidence"))
    cuts = line.get("cuts")
    row = str(name), _number("time", line.get("time")), _bad(line), _number("seconds", seconds), _number("score", score)
    if all(math.isnan(value) for value in row[2:]):
        raise TypeError("it says neither `bad`, `outcome` nor `status`, nor `seconds`, nor `score`")
    return *row, cuts if isinstance(cuts, dict) else {}


def _bad(line: Mapping[str, Any]) -> float:
    if isinstance(bad := line.get("bad"), bool):
        return float(bad)
    if bad is not None:
        raise TypeError(f"`bad` must be true or false, and is {bad!r}")
    if isinstance(outcome := line.get("outcome"), str):
        return float(outcome in BAD_OUTCOMES)
    status = _number("status", line.get("status"))
    return math.nan if math.isnan(status) else float(status >= BAD_STATUS)


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    if not is_finite(value):
        raise TypeError(f"`{name}` must be a finite number, and is {value!r}")
    return float(value)


def _outcomes(rows: list[tuple[str, float, float, float, float, Mapping[str, str]]], torn: int, path: Path) -> Outcomes:
    if not rows:
        raise FirstfaultError(f"{path} must hold the outcome of at least one request, but it holds none")
    times = [row[1] for row in rows]
    if any(map(math.isnan, times)) and not all(map(math.isnan, times)):
        raise FirstfaultError(f"each line of {path} must have a `time`, or none, but some have one")
    rows = sorted(rows, key=lambda row: 0.0 if math.isnan(row[1]) else row[1])
    ids, time, bad, seconds, score, cuts = zip(*rows, strict=True)
    numbers = [np.asarray(column, dtype=float) for column in (time, bad, seconds, score)]
    return Outcomes(ids, numbers[0], numbers[1], numbers[2], numbers[3], cuts, torn)
