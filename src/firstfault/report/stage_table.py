"""The table of preprocessing stages, with the first stage marked at which a check found something wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firstfault.finding import Finding, LayerReport, Status
from firstfault.report.formatting import of_status

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class StageRow:
    """One row of the table: its values, and the finding that marks it; `says` on the last marked row, where it is told."""

    values: Mapping[str, Any]
    finding: Finding | None = None
    says: bool = False


def marked_stages(stages: Sequence[Mapping[str, Any]], report: LayerReport | None) -> list[StageRow]:
    """The rows of `firstfault.training.stages.stage_table`, those of the first faulty stage marked.

    A failed finding goes before a warning, an earlier stage before a later one. Where the finding's place names splits too, only
    theirs are marked.
    """
    stage, finding = _first_wrong(list(dict.fromkeys(str(row.get("stage")) for row in stages)), report)
    if finding is None:
        return [StageRow(row) for row in stages]
    splits = [name for name in SPLITS if _names(finding.where or "", name)]
    marked = [str(row.get("stage")) == stage and (not splits or row.get("split") in splits) for row in stages]
    last = max((place for place, hit in enumerate(marked) if hit), default=-1)
    return [StageRow(row, finding if hit else None, place == last) for place, (row, hit) in enumerate(zip(stages, marked, strict=True))]


def _first_wrong(stages: Sequence[str], report: LayerReport | None) -> tuple[str, Finding | None]:
    for status in (Status.FAIL, Status.WARN):
        found = of_status(report, status) if report is not None else []
        for stage in stages:
            for finding in found:
                if _names(finding.where or "", stage):
                    return stage, finding
    return "", None


def _names(place: str, name: str) -> bool:
    """Whether a finding's place names a stage or split: as a whole word, beside commas, quotes or brackets."""
    return bool(name) and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", place) is not None
