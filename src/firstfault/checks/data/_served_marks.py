"""What sets the columns of an incident's raw requests apart from those of its control, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from firstfault.checks.data._column_fillings import fed_back, filled, in_runs, one_value, stands_still
from firstfault.checks.data._column_forms import renamed_fields, typed
from firstfault.checks.data._column_marks import ABSENT, FEWEST, Column, Mark
from firstfault.checks.data._column_moves import beyond, moved, new_category
from firstfault.checks.data._column_units import new_unit
from firstfault.checks.data._sent_again import distinct_rows
from firstfault.subject.incident import incident
from firstfault.subject.memo import memo
from firstfault.subject.offline import offline
from firstfault.subject.raw_rows import MASKED
from firstfault.subject.subject import Subject


@memo(of="trained")
def marks_of(subject: Subject) -> tuple[Mark, ...]:
    """The marks of all columns of the incident's raw requests."""
    seen = incident(subject)
    before, after = distinct_rows(subject, seen.control), distinct_rows(subject, seen.requests)
    if len(before) < FEWEST or len(after) < FEWEST:
        return ()
    known = _known(subject)
    answers = frozenset(value for value in seen.requests.values("label") if isinstance(value, float))
    names = list(dict.fromkeys(name for row in (*before, *after) for name in row))
    columns = [
        Column(
            name,
            [row.get(name, ABSENT) for row in before],
            [row.get(name, ABSENT) for row in after],
            known.get(name, []),
            len(names),
            answers,
        )
        for name in names
    ]
    renamed = renamed_fields(columns)
    marks = [mark for column in columns if column.name not in _names_of(renamed) for mark in _marks(column)]
    apart = {mark.column for mark in marks if mark.fault == "covariate_drift" or mark.alone}
    return (*renamed, *(_drifted(mark) if mark.alone and len(apart) > 1 else mark for mark in marks))


def _drifted(mark: Mark) -> Mark:
    """A value that stands in for others, where other columns moved too: other traffic."""
    return replace(mark, faults={"covariate_drift": 0.6}, certain=False)


def _known(subject: Subject) -> dict[str, list[Any]]:
    try:
        example = offline(subject).example
    except Exception:  # without a target, the control alone is known
        return {}
    if not hasattr(example, "columns"):
        return {}
    return {str(name): example[name].tolist() for name in example.columns}


def _names_of(marks: Sequence[Mark]) -> set[str]:
    return {name for mark in marks for name in mark.column.split(" → ")}


def _marks(column: Column) -> list[Mark]:
    """The marks of one column, the most telling kind alone."""
    if all(value is ABSENT for value in column.before) or any(
        isinstance(value, str) and MASKED.search(value) for value in column.before[:FEWEST]
    ):
        return []
    for look in (typed, fed_back, new_unit, stands_still, one_value, in_runs, filled, new_category, beyond, moved):
        if (mark := look(column)) is not None:
            return [mark]
    return []
