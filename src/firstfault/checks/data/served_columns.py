"""Checks of an incident's raw requests: fields and values that are other than in the healthy requests beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firstfault.check import check
from firstfault.checks.data._class_mix import by_classes
from firstfault.checks.data._column_marks import Mark
from firstfault.checks.data._sent_again import sent_again
from firstfault.checks.data._served_marks import marks_of
from firstfault.finding import Layer, Status
from firstfault.judgement import Judgement, passed, skipped
from firstfault.place import Place
from firstfault.subject.harm import harm
from firstfault.subject.incident import incident
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind

MANY = 4
"""Columns that a message tells of."""
UNPROVEN = 0.45
"""What a mark that healthy traffic can leave weighs where nothing says that it did harm: a suspicion."""


@check(
    layer=Layer.DATA,
    needs={incident},
    detects={
        "schema_change": 0.8,
        "type_change": 0.8,
        "unit_change": 0.8,
        "upstream_default": 0.8,
        "sentinel_value": 0.8,
        "missing_values": 0.8,
        "stale_feature": 0.8,
        "unseen_category": 0.8,
        "out_of_range": 0.8,
        "feedback_loop": 0.8,
    },
    kind=SubjectKind.INCIDENT,
)
def served_values(subject: Subject) -> Iterator[Judgement]:
    """Find columns of an incident's requests that came in another form than those of the control.

    Measures: for each column, fields that went or were renamed, other types, one factor between both distributions, a
        value that fills rows, few distinct values, categories and numbers that never came before.
    Fails when: a column bears such a mark; where undoing it on the incident's own requests changes no answer, it is no
        cause.
    Not a fault when: a new category is answered as well as the others, by labels or by the model's confidence.
    Source: Breck et al. 2019, Data Validation for Machine Learning; Polyzotis et al. 2017, Data Management Challenges
        in Production Machine Learning.
    """
    marks = [mark for mark in marks_of(subject) if mark.fault != "covariate_drift"]
    for fault in dict.fromkeys(mark.fault for mark in marks):
        yield _of_marks([mark for mark in marks if mark.fault == fault], subject)
    if not marks:
        yield passed("every column has the form, the unit and the values that it had")


def _of_marks(marks: Sequence[Mark], subject: Subject) -> Judgement:
    """A failure; a warning of what healthy traffic can bring, where labels say that it was answered well."""
    faults, told = marks[0].faults, "; ".join(mark.message for mark in marks[:MANY])
    where = Place.columns(*(name for mark in marks for name in mark.column.split(" → ")))
    if not any(mark.certain for mark in marks):
        seen = harm(subject)
        told = f"{told}; {seen.message}"
        if seen.worse is False:
            return Judgement(Status.WARN, told, marks[0].value, where=where, faults={})
        faults = faults if seen.worse else {name: min(weight, UNPROVEN) for name, weight in faults.items()}
    return Judgement(Status.FAIL, told, marks[0].value, where=where, faults=faults)


@check(layer=Layer.DATA, needs={incident}, detects={"covariate_drift": 0.6}, kind=SubjectKind.INCIDENT)
def served_drift(subject: Subject) -> Iterator[Judgement]:
    """Find columns of an incident's requests that moved from those of the control, and whether answers got worse.

    Measures: the test of Kolmogorov and Smirnov per column of numbers, chi square per column of categories, corrected
        for the number of columns; beside it the share of right answers, or the model's confidence where no labels came.
    Fails when: a column moved, and answers are worse or nobody can tell; undoing it must bring the answers back.
    Not a fault when: labels say that the moved requests are answered as well: a season, a promotion.
    Source: Rabanser et al. 2019, Failing Loudly.
    """
    moved = sorted(
        (mark for mark in marks_of(subject) if mark.fault == "covariate_drift"), key=lambda mark: -mark.value
    )
    if not moved:
        yield passed("no column moved")
        return
    seen = harm(subject)
    where = Place.columns(*(mark.column for mark in moved))
    if (mix := by_classes(subject, [mark.column for mark in moved])) is not None:
        yield Judgement(
            Status.WARN, f"{len(moved)} columns moved with the mix of classes alone: {mix}", where=where, faults={}
        )
        return
    more = f", and {len(moved) - MANY} columns more" if len(moved) > MANY else ""
    message = "; ".join(mark.message for mark in moved[:MANY]) + f"{more}; {seen.message}"
    if seen.worse is False:
        yield Judgement(Status.WARN, message, moved[0].value, where=where, faults={})
        return
    weight = 0.6 if seen.worse else UNPROVEN
    yield Judgement(Status.FAIL, message, moved[0].value, where=where, faults={"covariate_drift": weight})


@check(layer=Layer.DATA, needs={incident}, detects={"duplicate_rows": 0.7}, kind=SubjectKind.INCIDENT)
def served_repeats(subject: Subject, *, share: float = 0.2) -> Iterator[Judgement]:
    """Find requests that came several times, as a client sends them that retries, or a replayed queue.

    Measures: the share of requests whose raw input, by its hash, came before among as many on end as both sides have;
        that of the incident less that of the control.
    Fails when: it is above `share`.
    Not a fault when: what failed is sent again; the control repeats as much, as where samples have few columns; where
        one text stands in for all others, it is a default of its column.
    Source: Polyzotis et al. 2017, Data Management Challenges in Production Machine Learning.
    """
    found = sent_again(subject)
    if not found.known:
        yield skipped("the raw requests have no hashes")
        return
    message = f"{found.now:.0%} of the requests came before, and {found.before:.0%} of the control"
    if found.now - found.before <= share or found.stand_in:
        yield passed(f"{message}{', of one input' if found.stand_in else ''}", value=found.now)
        return
    yield Judgement(Status.FAIL, message, found.now, share, fix="answer a request that came before by its id, once")
