"""Does the data meet its expectations: those the user declared, or those inferred from a trusted table?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, skipped
from firstfault.checks.data.rows import table
from firstfault.finding import Layer, Status
from firstfault.splits import Split, to_array

RESULT, PAGE = "gx_result.json", "gx_result.html"
QUARANTINE = "quarantine.csv"
FEWEST = 3
SHOWN = 3
FIXES = {
    "schema_change": "restore the columns, or update the expectations", "type_change": "parse the column as the expected type",
    "unseen_category": "map the category, or add it to the expectation", "out_of_range": "correct the source, or widen the range",
    "missing_values": "impute the values, or repair the source", "duplicate_rows": "drop the copies",
    "insufficient_data": "find out where the rows went", "covariate_drift": "find out what changed in the source",
}


@check(
    layer=Layer.DATA, needs={"raw"}, depth=Depth.STANDARD,
    detects={"schema_change": 0.95, "type_change": 0.95, "out_of_range": 0.92, "unseen_category": 0.92, "missing_values": 0.9},
)
def expectations(subject: Any) -> Iterator[Judgement]:
    """Validate the data with Great Expectations; `value` is the number of broken expectations.

    The suite is the declared one, else one inferred from the reference, else from train. Against a declared suite or
    a reference, all rows are validated, and a broken critical expectation fails. A suite inferred from train is
    validated on the held-out rows and only warns, unless the user drew these splits and their columns or types differ.

    Source: Great Expectations; Breck et al. 2019, Data Validation for Machine Learning (schemas inferred, then reviewed).
    """
    plan = _plan(subject)
    if plan is None:
        yield skipped("only tables are validated")
        return
    from firstfault.expecting import validate, write_page

    suite, origin, batches, trusted = plan
    validations = {name: validate(frame, suite) for name, frame in batches.items()}
    results = {"suite": suite.to_json_dict(), "origin": origin, **{name: found.result for name, found in validations.items()}}
    (subject.folder / RESULT).write_text(json.dumps(results, indent=1, default=str), encoding="utf-8")
    write_page({f"{name}, against {origin}": found for name, found in validations.items()}, subject.folder / PAGE)
    broken = [
        (name, entry) for name, found in validations.items() for entry in found.broken
        if trusted or entry.rows >= FEWEST or entry.fault in ("schema_change", "type_change")
    ]
    if not trusted:                     # a part of the rows has fewer of them, and repeats by chance
        broken = [(name, entry) for name, entry in broken if entry.fault not in ("insufficient_data", "duplicate_rows")]
    if trusted and (told := _set_aside(subject, batches["data"], suite, [entry for _, entry in broken])):
        yield told
    for fault in dict.fromkeys(entry.fault for _, entry in broken):
        yield _judged(fault, [(name, entry) for name, entry in broken if entry.fault == fault], origin, trusted)
    if not broken:
        count = sum(found.count for found in validations.values())
        yield Judgement(Status.PASS, f"{count} expectations of {origin} are met", value=0, artifacts=(RESULT, PAGE))


def _set_aside(subject: Any, frame: pd.DataFrame, suite: Any, broken: list[Any]) -> Judgement | None:
    """Write the failing rows with their reasons to quarantine.csv, which stays in the run's folder."""
    from firstfault.expecting import failing_rows

    reasons = failing_rows(frame, suite, broken)
    if not reasons:
        return None
    names = np.repeat([name for name, _ in subject.raw.items()], [len(split.y) for _, split in subject.raw.items()])
    starts = {name: int(np.argmax(names == name)) for name in dict.fromkeys(names)}
    rows = list(reasons)
    set_aside = frame.iloc[rows].copy()
    set_aside["quarantine.split"] = names[rows]
    set_aside["quarantine.row"] = [row - starts[names[row]] for row in rows]
    set_aside["quarantine.reasons"] = ["; ".join(reasons[row]) for row in rows]
    set_aside.to_csv(subject.folder / QUARANTINE, index=False)
    return Judgement(
        Status.WARN, f"{len(rows)} of {len(frame)} rows break a critical expectation; they are listed with their reasons in {QUARANTINE}, "
        f"{len(frame) - len(rows)} are clean", value=len(rows), threshold=0, where="rows", faults={}, fix=f"review {QUARANTINE} in the run's folder",
    )


def _judged(fault: str, broken: list[tuple[str, Any]], origin: str, trusted: bool) -> Judgement:
    critical = any(entry.severity == "critical" for _, entry in broken)
    fails = critical and (trusted or fault in ("schema_change", "type_change"))
    told = "; ".join(f"{entry.column or 'the table'} in {name}: {entry.detail}" for name, entry in broken[:SHOWN])
    more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    return Judgement(
        Status.FAIL if fails else Status.WARN, f"{told}{more} (expectations of {origin})", value=len(broken), threshold=0,
        where=", ".join(dict.fromkeys(entry.column or "table" for _, entry in broken)), faults={fault: 0.95} if fails else {},
        fix=FIXES[fault], artifacts=(RESULT, PAGE),
    )


def _plan(subject: Any) -> tuple[Any, str, dict[str, pd.DataFrame], bool] | None:
    """The suite, where it comes from, the tables to validate, and whether it is trusted; None where train is no table."""
    from firstfault.expecting import infer_suite, read_suite

    data = subject.target.data
    frames = {name: frame for name, split in subject.raw.items() if (frame := with_labels(subject.target, split)) is not None}
    if "train" not in frames:
        return None
    everything = {"data": pd.concat(frames.values(), ignore_index=True)}
    if data.expectations is not None:
        return read_suite(data.expectations, subject.target.root), str(data.expectations), everything, True
    if data.reference is not None and (known := with_labels(subject.target, subject.reference)) is not None:
        return infer_suite(known, "inferred from the reference"), "the reference", everything, True
    train = frames.pop("train")
    declared = {name: frame for name, frame in frames.items() if name in data.declared_splits}
    rest = {"held-out rows": pd.concat(frames.values(), ignore_index=True)}
    return infer_suite(train, "inferred from train"), "train", declared or rest, False


def with_labels(target: Any, split: Split) -> pd.DataFrame | None:
    """A split's table with its label columns; None for images and wide samples."""
    frame = table(split.X)
    if frame is None:
        return None
    y, label = to_array(split.y), target.data.label
    if y.ndim == 1 and len(y) == len(frame):
        return frame.assign(**{label if isinstance(label, str) else "label": y})
    if y.ndim == 2 and isinstance(label, list | tuple) and y.shape[1] == len(label):
        return frame.assign(**{name: np.asarray(y[:, column]) for column, name in enumerate(label)})
    return frame


