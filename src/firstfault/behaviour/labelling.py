"""A sheet on which people say of some answers whether they pass, drawn by the scorer's verdict."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from firstfault.behaviour.audit import NO, YES
from firstfault.behaviour.evaluation import CaseRun, Outcome, SuiteRun, digest_of
from firstfault.errors import TargetError
from firstfault.output.whole_files import write_text

ENOUGH = 60
"""Labels of a sheet: benchmarks/scorer_intervals.py measures what they are worth."""
COLUMNS = ("key", "suite", "case", "prompt", "answer", "passes")


def drawn(run: SuiteRun, n: int = ENOUGH, seed: int = 0) -> list[CaseRun]:
    """Cases to be labelled, at random: half of those that the scorer passes, half of the others, or all there are."""
    order = random.Random(seed)
    strata = [[r for r in run.scored if (r.outcome is Outcome.PASS) is verdict] for verdict in (True, False)]
    small, large = sorted(strata, key=len)
    few = order.sample(small, min(n // 2, len(small)))
    return [*few, *order.sample(large, min(n - len(few), len(large)))]


def write_sheet(runs: Sequence[SuiteRun], file: Path, n: int = ENOUGH) -> int:
    """Write a sheet with answers of each suite and an empty column `passes`; how many rows it has."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    rows = [(run, case) for run in runs for case in drawn(run, n)]
    random.Random(1).shuffle(rows)  # so that nobody can tell by the place what the scorer says
    for run, case in rows:
        writer.writerow([digest_of(case), run.suite.name, case.case.id, case.case.asked, case.first, ""])
    write_text(file, text.getvalue())
    return len(rows)


def read_sheet(file: Path) -> Mapping[str, bool]:
    """What people said, by the digest of case and answer; a label counts as long as the answer is the same.

    Raises:
        TargetError: when the file is no sheet, or a label is neither yes nor no.
    """
    if not file.is_file():
        raise TargetError(f"there is no file {file}")
    try:
        rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TargetError(f"{file.name} is no CSV in UTF-8: {error}") from error
    if not rows or not {"key", "passes"} <= rows[0].keys():
        raise TargetError(f"{file.name} must have the columns {', '.join(COLUMNS)}, as `--label-sheet` writes them")
    labels = {}
    for number, row in enumerate(rows, 2):
        label = (row["passes"] or "").strip().lower()
        if label and label not in YES | NO:
            raise TargetError(f"row {number} of {file.name}: passes must be yes, no or empty, but is {label!r}")
        if label:
            labels[str(row["key"])] = label in YES
    return labels
