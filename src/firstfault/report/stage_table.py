"""The table of preprocessing stages, with the first stage marked at which a check found something wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from firstfault.finding import Finding, LayerReport, Status
from firstfault.place import Kind
from firstfault.report.formatting import of_status
from firstfault.values import Row


@dataclass(frozen=True)
class StageRow:
    """One row of the table: its values, and the finding that marks it; the last marked row `says` it."""

    values: Row
    finding: Finding | None = None
    says: bool = False


def marked_stages(stages: Sequence[Row], report: LayerReport | None) -> list[StageRow]:
    """The rows of `firstfault.training.stages.stage_table`, those of the first faulty stage marked.

    A failed finding goes before a warning, an earlier stage before a later one. Where the finding's place is in a
    split, only that split's row is marked.
    """
    stage, finding = _first_wrong(list(dict.fromkeys(str(row.get("stage")) for row in stages)), report)
    if finding is None:
        return [StageRow(row) for row in stages]
    split = finding.where.split if finding.where is not None else None
    marked = [str(row.get("stage")) == stage and split in (None, row.get("split")) for row in stages]
    last = max((place for place, hit in enumerate(marked) if hit), default=-1)
    return [
        StageRow(row, finding if hit else None, place == last)
        for place, (row, hit) in enumerate(zip(stages, marked, strict=True))
    ]


def _first_wrong(stages: Sequence[str], report: LayerReport | None) -> tuple[str, Finding | None]:
    for status in (Status.FAIL, Status.WARN):
        found = of_status(report, status) if report is not None else []
        for stage in stages:
            for finding in found:
                if finding.where is not None and finding.where.kind is Kind.STAGE and stage in finding.where.names:
                    return stage, finding
    return "", None
