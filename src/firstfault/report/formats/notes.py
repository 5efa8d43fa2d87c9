"""What a verdict has to say about files and lines, as notes that every format writes in its own way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from firstfault.finding import Finding, LayerReport, Status
from firstfault.output.numbers import percent
from firstfault.place import Place
from firstfault.report.formatting import diff, proves, sentence, swap_basis, swap_numbers, tested, what_is_wrong
from firstfault.verdict import Change, Fault, Verdict, VerdictStatus

ERROR, WARNING, NOTICE = "error", "warning", "note"


@dataclass(frozen=True)
class Note:
    """One annotation: a level, the rule that it is of, and the line that it stands at, where that is known.

    `file` is relative to the working folder where it lies in it.
    """

    level: str
    rule: str
    title: str
    message: str
    file: str | None = None
    line: int | None = None
    change: Change | None = None


def notes_of(verdict: Verdict, anchor: str | None = None) -> list[Note]:
    """The faults as errors, what is undecided or crashed as warnings, what is only to look at as notices.

    `anchor` is the file of what has none.
    """
    faults = [_of_fault(fault, verdict, anchor) for fault in verdict.faults]
    open_ones = [
        Note(WARNING, "undecided", "firstfault: not examined enough", sentence(text), relative(anchor))
        for text in verdict.not_cleared
    ]
    found = [
        _of_finding(finding, level, anchor) for report in verdict.layers for finding, level in _told(report, verdict)
    ]
    return [*faults, *open_ones, *found]


def _told(report: LayerReport, verdict: Verdict) -> Iterable[tuple[Finding, str]]:
    """The findings that are told beside the faults; a failure that a fault stands for is told there."""
    levels = {Status.ERROR: WARNING, Status.WARN: NOTICE}
    if verdict.status is VerdictStatus.UNDECIDED:
        levels[Status.FAIL] = WARNING
    return [(finding, levels[finding.status]) for finding in report.findings if finding.status in levels]


def _of_fault(fault: Fault, verdict: Verdict, anchor: str | None) -> Note:
    file, line = spot(fault.where, anchor)
    title = f"firstfault: {what_is_wrong(fault.fault)}"
    return Note(ERROR, fault.fault, title, told(fault, verdict), file, line, fault.change)


def told(fault: Fault, verdict: Verdict) -> str:
    """A fault in the lines of a plain text: layer, evidence, place, remedy, change and test."""
    word, why = tested(fault, verdict.outcomes)
    lines = [f"{fault.fault} ({fault.layer.value}, confidence {percent(fault.confidence)})", *proves(fault)]
    if fault.where:
        lines.append(f"Place: {fault.place}")
    lines.append(f"Remedy: {fault.remedy}")
    if fault.change:
        lines += diff(fault.change)
    if fault.swap:
        lines.append(f"{sentence(fault.swap.change)}: {swap_numbers(fault.swap)} ({swap_basis(fault.swap)})")
    return "\n".join([*lines, f"{sentence(word)}: {why}"])


def _of_finding(finding: Finding, level: str, anchor: str | None) -> Note:
    file, line = spot([finding.where] if finding.where is not None else [], anchor)
    remedy = [f"Remedy: {finding.fix}"] if finding.fix else []
    return Note(level, finding.check, f"firstfault: {finding.check}", "\n".join([finding.message, *remedy]), file, line)


def spot(places: Iterable[Place], anchor: str | None) -> tuple[str | None, int | None]:
    """The file and line of the first place that has them; else the anchor, and no line."""
    for place in places:
        if place.file is not None and (known := _found(place.file, anchor)) is not None:
            return relative(known), place.line
    return relative(anchor), None


def _found(file: str, anchor: str | None) -> str | None:
    """The file as it is, or beside the anchor, where only its name is known; None where there is no such file."""
    beside = [Path(anchor).parent / file] if anchor is not None else []
    return next((str(path) for path in (Path(file), *beside) if path.is_file()), None)


def relative(file: str | None) -> str | None:
    """A path as seen from the working folder, where it lies in it."""
    if file is None:
        return None
    path = Path(os.path.normpath(Path.cwd() / file))
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)
