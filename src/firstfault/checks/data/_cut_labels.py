"""Labels that a division by their scale cut to whole numbers: 0 for all but the largest."""

from __future__ import annotations

from typing import Any

import numpy as np

from firstfault.checks.data._cutting_code import cutting_line
from firstfault.checks.data._label_numbers import numbers_of
from firstfault.data.splits import to_array
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.model_inputs import sound_outputs
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

TOLD_AS_CUT = "the labels were cut to whole numbers, which preprocessing tells"
MOST_LEVELS = 3  # what is left of amounts
FEWEST_AMOUNTS = 20  # a target of fewer values is a grade
FEW_ONES = 0.005  # the share of rows at the maximum, or within rounding of it
FEWEST_OUTPUTS = 3  # fewer are what two classes take


def cut(subject: Subject) -> tuple[str, Place | None]:
    """What became of labels that were cut in the preparation, or before it on which line; empty where none were."""
    wrong = _cut_in_preparation(subject) if subject.target.prepare is not None else ""
    return (wrong, None) if wrong else cut_when_read(subject)


def _cut_in_preparation(subject: Subject) -> str:
    before, after = (_column(splits.train.y) for splits in (subject.raw, subject.prepared))
    if before is None or after is None or len(before) != len(after) or not _rises(before, after):
        return ""
    had, has = len(np.unique(before)), len(np.unique(after))
    if has >= had or (after % 1).any():
        return ""
    if subject.target.task == "regression":
        lost = had >= FEWEST_AMOUNTS and has <= MOST_LEVELS and _quotients(before, after)
        return f"were cut from {had} values to {has}" if lost else ""
    wide = had >= FEWEST_OUTPUTS and _outputs(subject) >= had
    return f"were cut from {had} classes to {has}, and the model has an output for each of the {had}" if wide else ""


@memo(of="raw")
def cut_when_read(subject: Subject) -> tuple[str, Place | None]:
    """What labels look like that were cut before firstfault saw them, and on which line; empty where they do not."""
    parts = [_column(split.y) for _, split in subject.raw.items()]
    if subject.target.task not in ("classification", "regression") or any(part is None for part in parts):
        return "", None
    y = np.concatenate([part for part in parts if part is not None])
    levels = np.unique(y)
    if not np.array_equal(levels, np.arange(len(levels))):
        return "", None
    if len(levels) == 1:
        line = cutting_line(subject)
        return ("are 0 in every row", line) if line else ("", None)
    if subject.target.task == "regression":
        return _amounts(y, len(levels), cutting_line(subject)) if len(levels) <= MOST_LEVELS else ("", None)
    if (line := cutting_line(subject)) is None:
        return "", None
    width = _outputs(subject)
    lost = width >= FEWEST_OUTPUTS and width > len(levels)
    return (f"are {_list(levels)} only, and the model has {width} outputs", line) if lost else ("", None)


def _amounts(y: Array, levels: int, line: Place | None) -> tuple[str, Place | None]:
    ones = int((y == 1).sum())
    if levels == 2 and ones <= max(MOST_LEVELS, FEW_ONES * len(y)):
        return f"are 1 in {ones} of {len(y)} rows, and 0 in all others", line
    return (f"are {_list(np.arange(levels))} only, and the task is regression", line) if line else ("", None)


def _list(levels: Array) -> str:
    return ", ".join(f"{level:g}" for level in levels[:5]) + ", …" * (len(levels) > 5)


def _column(y: Any) -> Array | None:
    """Labels `(N,)` as finite numbers; None for any others."""
    y = to_array(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    numbers = numbers_of(y) if y.ndim == 1 and len(y) else None
    return None if numbers is None or not np.isfinite(numbers).all() else numbers


def _rises(before: Array, after: Array) -> bool:
    """Whether equal labels stay equal, and larger ones do not become smaller, in whatever order the rows come."""
    before, after = np.sort(before), np.sort(after)
    return bool((np.diff(after)[np.diff(before) == 0] == 0).all())


def _quotients(before: Array, after: Array) -> bool:
    """Whether there is a number by which the labels, or what they are above the least, were divided to be cut."""
    after = np.abs(np.sort(after))
    return any(_have_divisor(np.abs(np.sort(part)), after) for part in (before, before - before.min()))


def _have_divisor(amounts: Array, quotients: Array) -> bool:
    most = np.min(amounts[quotients > 0] / quotients[quotients > 0], initial=np.inf)
    return bool(np.max(amounts / (quotients + 1), initial=0.0) < most * (1 + 1e-9))


def _outputs(subject: Subject) -> int:
    """How many outputs the model has for a row; 0 where that is not known."""
    try:
        outputs = sound_outputs(subject)
    except Exception:  # a model that raises is told there
        return 0
    return int(outputs.shape[1]) if outputs.ndim == 2 else 0
