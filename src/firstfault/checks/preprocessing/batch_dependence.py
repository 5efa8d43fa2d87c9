"""Does what becomes of a row depend on the rows that are prepared with it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from firstfault.check import Judgement, check, skipped
from firstfault.checks.preprocessing._row_alone import moved_alone
from firstfault.data.splits import take
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.rerun import Array, apart_by_row, flat, joined, moved_columns, rows_of, unmatched
from firstfault.subject.subject import Subject

MOST_ROWS = 5_000  # training rows that keep company: bounds the time
FEWEST_ROWS = 20  # statistics of fewer rows move with any row


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"batch_dependent_transform": 0.92})
def batch_dependent_transform(
    subject: Subject, *, size: float = 0.1, columns: float = 0.25, slight: float = 1e-3
) -> Iterator[Judgement]:
    """Find steps whose result for a row depends on the rows beside it.

    Measures: how far validation rows move, in deviations, when each is prepared alone, as a served one may be, in the
        column that moves the most; and when they are prepared in another order, and together with training rows: the
        larger of the two. It is the move that all but `columns` of the columns stay below.
    Fails when: the move is above `size` in another order, or above twice that alone or in other company; or a row alone
        becomes NaN or gets other columns of a frame.
    Warns when: it is above `slight`, as of statistics that are not of the rows alone.
    Not a fault when: steps differ from run to run anyhow, or refuse other batches: nothing is judged.
    Source: a choice of ours: 0.1 deviations is the error of a mean of 100 rows;
        tests/checks/preprocessing/test_paths.py holds the cases that it separates.
    """
    if not subject.pipeline.steps:
        yield skipped("the target declares no steps that could be applied to a batch")
        return
    validation = subject.raw.validation
    if len(validation.y) < FEWEST_ROWS:
        yield skipped(f"validation has fewer than {FEWEST_ROWS} rows")
        return
    after = [flat(stage.splits.validation.X) for stage in subject.pipeline.stages[1:]]
    alone = moved_alone(subject, after, 2 * size)
    if alone is not None and not _differs_anyway(subject, after[-1]):
        yield Judgement(
            Status.FAIL,
            f"{alone.name} takes its statistics from the rows it is given: a validation row that is prepared alone "
            f"{alone.told}",
            value=alone.size if np.isfinite(alone.size) else None,
            threshold=2 * size,
            where=Place.stage(alone.name),
            fix="use statistics fitted on train",
        )
        return
    order = np.random.default_rng(0).permutation(len(validation.y))
    company = joined(take(subject.raw.train, slice(MOST_ROWS)), validation)
    others = {
        "order": (rows_of(validation.X, order), order.argsort()),
        "company": (company.X, slice(len(company.y) - len(validation.y), None)),
    }
    moves = {name: _moves(subject, X, rows, after, columns) for name, (X, rows) in others.items()}
    by_order, by_company = (moves[name][-1] for name in ("order", "company"))
    if by_order is None or by_company is None or (by_order > size and _differs_anyway(subject, after[-1])):
        yield skipped("the steps refuse other batches, drop rows, or differ from run to run")
        return
    value, bad = max(by_order, by_company), by_order > size or by_company > 2 * size
    status = Status.FAIL if bad else Status.WARN if value > slight else Status.PASS
    yield Judgement(
        status,
        f"the same validation rows move by {value:.2g} deviations when they are prepared among other rows",
        value=value,
        threshold=size,
        where=_first_moved(subject, moves, size if bad else slight) if status is not Status.PASS else None,
        fix="use statistics fitted on train" if status is not Status.PASS else None,
    )


def _moves(subject: Subject, X: Any, rows: Any, after: list[Array], columns: float) -> list[float | None]:
    """By how much other company moves the validation rows after each step; None from the step that refuses it."""
    found: list[float | None] = [None] * len(after)
    for place, (_, step) in enumerate(subject.pipeline.steps):
        try:
            X = step(X)
            values = flat(X)[rows]
        except Exception:
            break
        found[place] = _move(after[place], values, columns)
    return found


def _first_moved(subject: Subject, moves: dict[str, list[float | None]], size: float) -> Place:
    for place, (name, _) in enumerate(subject.pipeline.steps):
        if any((found[place] or 0.0) > size for found in moves.values()):
            return Place.stage(name)
    return Place.stage(subject.pipeline.stages[-1].name)


def _applied(subject: Subject, X: Any, rows: Any) -> Any:
    try:
        return flat(subject.pipeline.apply(X))[rows]
    except Exception:
        return None


def _move(alone: Any, other: Any, columns: float) -> float | None:
    if other is None or other.shape != alone.shape:
        return None
    if not alone.size:
        return 0.0
    if unmatched(alone, other) < 0.05:  # the same rows in another order: `misaligned_labels` looks at that
        return 0.0
    return float(np.quantile(moved_columns(alone, other), 1 - columns))


def _differs_anyway(subject: Subject, alone: Any) -> bool:
    again = _applied(subject, subject.raw.validation.X, slice(None))
    return again is None or again.shape != alone.shape or apart_by_row(alone, again).share > 0
