"""Which column of a request stood in the place of which other one, by what the training's steps would make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.subject.offline import Offline

ROWS = 100
"""Samples that are prepared anew for each try: another column differs in more than five of them."""
MOST_COLUMNS = 80
"""Columns of one kind: each is tried in each place, in as many calls of the training's steps as there are."""
SAME = 0.95
"""The share of samples in which a stand-in gives the served values: the others are rounded, or empty."""
WHOLE = 0.9
"""The share of samples whose whole tensor all stand-ins together must give."""
FEWEST = 10
"""Samples, below which nothing is said: of two columns that are mostly empty, ten samples may be alike."""

Filled = Mapping[str, str]


def swapped(truth: Offline, raw: Sequence[Any], served: Array, close: Array) -> Filled:
    """The columns that held another one's values, with that other's name; empty where no such map gives the tensors.

    Args:
        truth: the training's fitted steps.
        raw: raw samples `(N,)` whose tensors are wrong.
        served: their served tensors `(N, D)`.
        close: by how much the same value of a prepared column may differ `(D,)`.
    """
    raw, served = raw[:ROWS], served[:ROWS]
    if not truth.columns or len(raw) < FEWEST:
        return {}
    frame = truth.framed(raw)
    frame.columns = list(map(str, frame.columns))
    try:
        ours = _prepared(truth, frame, {})
        if ours.shape != served.shape:
            return {}
        found: dict[str, str] = {}
        for names in _kinds(frame):
            found |= _of_kind(truth, frame, names, ours, served, close)
        whole = _prepared(truth, frame, found) if found else ours
    except Missing:
        return {}
    return found if (np.abs(whole - served) <= close).all(1).mean() >= WHOLE else {}


def _kinds(frame: pd.DataFrame) -> list[list[str]]:
    """The columns of numbers, and those of texts: one kind never stands in for the other."""
    numbers = [name for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name])]
    texts = [name for name in frame.columns if name not in numbers]
    return [names for names in (numbers, texts) if 2 <= len(names) <= MOST_COLUMNS]


def _prepared(truth: Offline, frame: pd.DataFrame, filled: Filled) -> Array:
    """The tensors `(N, D)` of the samples, some columns of which hold the values of others."""
    own = frame.assign(**{name: frame[other].to_numpy() for name, other in filled.items()})
    return truth.prepared(own.to_dict("records")).reshape(len(frame), -1)


def _of_kind(
    truth: Offline, frame: pd.DataFrame, names: list[str], ours: Array, served: Array, close: Array
) -> dict[str, str]:
    """For each column of one kind whose part of the tensor is wrong, the one that gives it best."""
    parts = {name: _part(truth, frame, name, ours) for name in names}
    best = {name: (_alike(ours, served, close, parts[name]), name) for name in names}
    for step in range(1, len(names)):
        filled = {name: names[(place + step) % len(names)] for place, name in enumerate(names)}
        made = _prepared(truth, frame, filled)
        for name, other in filled.items():
            best[name] = max(best[name], (_alike(made, served, close, parts[name]), other), key=lambda each: each[0])
    return {name: other for name, (share, other) in best.items() if other != name and share >= SAME}


def _part(truth: Offline, frame: pd.DataFrame, name: str, ours: Array) -> Array:
    """The places of the tensor that follow a column: those that change when its values are dealt anew."""
    dealt = np.random.default_rng(0).permutation(frame[name].to_numpy())
    made = truth.prepared(frame.assign(**{name: dealt}).to_dict("records")).reshape(len(frame), -1)
    return np.flatnonzero((made != ours).any(0))


def _alike(made: Array, served: Array, close: Array, part: Array) -> float:
    """The share of samples whose part of the tensor is the served one; 1 where nothing follows the column."""
    return float((np.abs(made - served) <= close)[:, part].all(1).mean()) if len(part) else 1.0
