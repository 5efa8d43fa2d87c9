"""What becomes of a row that is prepared alone, as it is when it is served, after each step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.subject.rerun import Array, flat, rows_of, scale_of
from firstfault.subject.subject import Subject

ROWS = 8  # of each kind: bounds the time, and a mean of so many moves tells a lost value from an odd one


class Alone(NamedTuple):
    """The first step after which rows alone are others than among others, by how many deviations, and how."""

    name: str
    size: float
    told: str


def moved_alone(subject: Subject, after: list[Array], most: float) -> Alone | None:
    """The first step that moves a column of rows that are alone by more than `most`; None where none does.

    `after` are the validation rows `(N, D)` after each step, prepared together. A row that a step refuses, drops or
    gives another shape is left out from there on.
    """
    rows = {row: rows_of(subject.raw.validation.X, slice(row, row + 1)) for row in _chosen(subject)}
    for (name, step), together, stage in zip(subject.pipeline.steps, after, subject.pipeline.stages[1:], strict=True):
        if len(together) != len(subject.raw.validation.X):  # rows were dropped: which of them is which is not known
            return None
        rows = {row: made for row, X in rows.items() if (made := _prepared(step, X)) is not None}
        whole = stage.splits.validation.X
        if (other := next((X for X in rows.values() if _other_columns(X, whole)), None)) is not None:
            return Alone(name, np.inf, f"gets {other.shape[1]} columns, and not the {whole.shape[1]} of rows together")
        values = {row: flat(X) for row, X in rows.items()}
        rows = {row: X for row, X in rows.items() if values[row].shape == (1, together.shape[1])}
        if found := _apart(name, {row: values[row][0] for row in rows}, together, most):
            return found
    return None


def _chosen(subject: Subject) -> list[int]:
    """Some rows of validation, and some of those with missing values, which a step may fill from their neighbours."""
    X = subject.raw.validation.X
    spread = np.linspace(0, len(X) - 1, ROWS).astype(int)
    gaps = np.flatnonzero(X.isna().any(axis=1)) if isinstance(X, pd.DataFrame) else _with_gaps(flat(X))
    return list(dict.fromkeys([*spread.tolist(), *gaps[:ROWS].tolist()]))


def _with_gaps(values: Array) -> Array:
    return np.flatnonzero(np.isnan(values).any(axis=1))


def _prepared(step: Any, X: Any) -> Any:
    try:
        with np.errstate(all="ignore"):
            made = step(X.copy() if hasattr(X, "copy") else X)
        return made if len(flat(made)) == 1 else None
    except Exception:  # a step may refuse a single row, or drop it
        return None


def _other_columns(X: Any, whole: Any) -> bool:
    """Whether frames have other columns: codes of the categories that happen to be among the rows."""
    return isinstance(X, pd.DataFrame) and isinstance(whole, pd.DataFrame) and list(X.columns) != list(whole.columns)


def _apart(name: str, alone: dict[int, Array], together: Array, most: float) -> Alone | None:
    if not alone or not together.size:
        return None
    others, own = together[list(alone)], np.stack(list(alone.values()))
    if (np.isfinite(others) & ~np.isfinite(own)).any():
        return Alone(name, np.inf, "becomes NaN or infinite")
    moves = np.nan_to_num(np.abs(own - others) / scale_of(together))
    size = float(moves.mean(0).max(initial=0.0))
    return Alone(name, size, f"is {size:.2g} deviations from itself among others") if size > most else None
