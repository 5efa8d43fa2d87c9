"""Does the data meet its expectations: those the user declared, or those inferred from a trusted table?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.data.expectations.expected import ROW_FAULTS, Expected
from firstfault.finding import Layer, Status
from firstfault.output.spreadsheets import write_frame
from firstfault.output.whole_files import write_json
from firstfault.place import Kind, Place
from firstfault.subject.subject import Subject

RESULT, PAGE = "gx_result.json", "gx_result.html"
QUARANTINE = "quarantine.csv"
SHOWN = 3  # broken expectations told in a message
FIXES = {
    "schema_change": "restore the columns, or update the expectations",
    "type_change": "parse the column as the expected type",
    "unseen_category": "map the category, or add it to the expectation",
    "out_of_range": "correct the source, or widen the range",
    "missing_values": "impute the values, or repair the source",
    "duplicate_rows": "drop the copies",
    "insufficient_data": "find out where the rows went",
    "covariate_drift": "find out what changed in the source",
}


@check(
    layer=Layer.DATA,
    needs={"raw"},
    depth=Depth.STANDARD,
    detects={
        "schema_change": 0.95,
        "type_change": 0.95,
        "out_of_range": 0.92,
        "unseen_category": 0.92,
        "missing_values": 0.9,
    },
)
def expectations(subject: Subject, *, fewest: int = 3) -> Iterator[Judgement]:
    """Find data that breaks its Great Expectations suite, declared or inferred from the reference or train.

    Measures: the number of broken expectations, one finding per fault that they are evidence for.
    Fails when: a critical expectation of a declared suite or of a reference is broken on any row, unless its rows were
        set aside. Of a suite inferred from train, when a declared split has other columns or types.
    Warns when: an expectation that is not critical is broken, or one inferred from train by at least `fewest` held-out
        rows.
    Source: Great Expectations; Breck et al. 2019, Data Validation for Machine Learning (schemas are inferred, then
        reviewed); benchmarks/data_defects.py plants values out of range, strange categories, missing values and a type
        change.
    """
    expected: Expected | None = subject.expected
    if expected is None:
        yield skipped("only tables are validated")
        return
    _write_results(subject, expected)
    broken = _counted(expected, fewest)
    if subject.data.quarantine:
        broken = [
            (name, entry) for name, entry in broken if entry.severity != "critical" or entry.fault not in ROW_FAULTS
        ]
    elif subject.quarantined:
        yield _listed(subject, "are listed with their reasons in")
    for fault in dict.fromkeys(entry.fault for _, entry in broken):
        yield _judged(
            fault, [(name, entry) for name, entry in broken if entry.fault == fault], expected.origin, expected.trusted
        )
    if not broken:
        count = sum(found.count for found in expected.validations.values())
        yield Judgement(
            Status.PASS, f"{count} expectations of {expected.origin} are met", value=0, artifacts=(RESULT, PAGE)
        )


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def quarantined_rows(subject: Subject) -> Iterator[Judgement]:
    """List the rows that were set aside because they break a critical expectation.

    Measures: the number of such rows. Only a target with `data.quarantine` sets rows aside, and goes on with the rest.
    Warns when: there is one.
    Source: Breck et al. 2019, Data Validation for Machine Learning (anomalous rows are quarantined, not trained on).
    """
    if not subject.data.quarantine:
        yield skipped("the target does not ask for data.quarantine")
    elif subject.quarantined:
        yield _listed(subject, "were set aside, and are listed with their reasons in")
    else:
        yield passed("no row breaks a critical expectation", value=0)


def _write_results(subject: Subject, expected: Expected) -> None:
    from firstfault.data.expectations.page import write_page

    results = {name: found.result for name, found in expected.validations.items()}
    suite = next(iter(expected.tables.values())).known.masked_tree(expected.suite.to_json_dict())
    document = {"suite": suite, "origin": expected.origin, **results}
    write_json(subject.folder / RESULT, document, default=str)
    write_page(
        {f"{name}, against {expected.origin}": found for name, found in expected.validations.items()},
        subject.folder / PAGE,
    )


def _counted(expected: Expected, fewest: int) -> list[tuple[str, Any]]:
    """What counts as broken: of a suite inferred from train, neither a few rows nor counts that a part can't meet."""
    if expected.trusted:
        return expected.broken()
    return [
        (name, entry)
        for name, entry in expected.broken()
        if entry.fault not in ("insufficient_data", "duplicate_rows")
        and (entry.rows >= fewest or entry.fault in ("schema_change", "type_change"))
    ]


def _listed(subject: Subject, verb: str) -> Judgement:
    """Write the failing rows with their reasons to quarantine.csv.

    It alone holds raw values, personal ones too, so that they can be repaired: it stays in the run's folder and is
    never uploaded.
    """
    reasons, splits = subject.quarantined, subject.source
    names = np.repeat([name for name, _ in splits.items()], [len(split.y) for _, split in splits.items()])
    starts = {name: int(np.argmax(names == name)) for name in dict.fromkeys(names)}
    rows = list(reasons)
    assert subject.expected is not None
    set_aside = subject.expected.tables["data"].rows(rows)
    set_aside["quarantine.split"] = names[rows]
    set_aside["quarantine.row"] = [row - starts[names[row]] for row in rows]
    set_aside["quarantine.reasons"] = ["; ".join(reasons[row]) for row in rows]
    write_frame(subject.folder / QUARANTINE, set_aside)
    return Judgement(
        Status.WARN,
        f"{len(rows)} of {len(names)} rows break a critical expectation; they {verb} {QUARANTINE}, "
        f"{len(names) - len(rows)} are clean",
        value=len(rows),
        threshold=0,
        where=Place(Kind.ROW),
        faults={},
        fix=f"review {QUARANTINE} in the run's folder",
    )


def _judged(fault: str, broken: list[tuple[str, Any]], origin: str, trusted: bool) -> Judgement:
    critical = any(entry.severity == "critical" for _, entry in broken)
    fails = critical and (trusted or fault in ("schema_change", "type_change"))
    told = "; ".join(f"{entry.column or 'the table'} in {name}: {entry.detail}" for name, entry in broken[:SHOWN])
    more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    return Judgement(
        Status.FAIL if fails else Status.WARN,
        f"{told}{more} (expectations of {origin})",
        value=len(broken),
        threshold=0,
        where=Place.columns(*dict.fromkeys(entry.column or "table" for _, entry in broken)),
        faults={fault: 0.95} if fails else {},
        fix=FIXES[fault],
        artifacts=(RESULT, PAGE),
    )
