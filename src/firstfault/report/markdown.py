"""Verdicts and layer reports as markdown, for Prefect artifacts and terminals."""

from __future__ import annotations

import re
from collections.abc import Iterable

from firstfault.finding import Finding, LayerReport, Status
from firstfault.output.escaping import visible
from firstfault.output.numbers import brief, duration, percent
from firstfault.report.formatting import (
    count,
    diff,
    examined,
    headline,
    left_out,
    of_status,
    proves,
    sentence,
    swap_basis,
    swap_numbers,
    tally,
    tested,
    undecided,
    what_is_wrong,
)
from firstfault.report.ladder_view import Rung, rungs_of
from firstfault.values import Row
from firstfault.verdict import Fault, Verdict

MARKS = {Status.PASS: "✓", Status.WARN: "!", Status.FAIL: "✗", Status.ERROR: "E", Status.SKIPPED: "–"}
MOST_FINDINGS = 50
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "://": ":&#47;&#47;", "@": "&#64;"}
"""HTML, and what becomes a link by itself."""


def verdict_markdown(verdict: Verdict) -> str:
    """The verdict on top, then each fault, then the ladder as a table; text of the user's is escaped."""
    first = verdict.first_faulty_layer
    title = f"# {escape(verdict.target)}: {verdict.status.value}" + (f", first in {first.value}" if first else "")
    lead = "" if verdict.faults else f"{escape(headline(verdict))}."
    faults = [_fault(fault, verdict) for fault in verdict.faults] or ["\n".join(map(_finding, undecided(verdict)))]
    rests_on = [] if verdict.faults else [*verdict.not_cleared, *examined(verdict)]
    beside = "\n".join(f"- {escape(line)}" for line in (*rests_on, *left_out(verdict)))
    rows = [_row(rung) for rung in rungs_of(verdict)]
    table = "\n".join(["| | layer | state | time | findings |", "|---|---|---|---:|---|", *rows])
    return "\n\n".join(part for part in (title, lead, *faults, beside, table) if part)


def layer_markdown(report: LayerReport) -> str:
    """A layer's findings, the bad ones in full, the good ones counted."""
    bad = of_status(report, Status.FAIL, Status.ERROR, Status.WARN)
    lines = [_finding(finding) for finding in bad[:MOST_FINDINGS]]
    if len(bad) > MOST_FINDINGS:
        lines.append(f"- and {len(bad) - MOST_FINDINGS} more")
    counts = ", ".join(text for status, text in tally(report) if status in (Status.PASS, Status.SKIPPED))
    lines.append(f"- {counts or 'nothing passed'}, in {duration(report.seconds)}")
    suspect = "\n\nSuspect: an earlier layer is at fault." if report.suspect else ""
    return f"## {MARKS[report.status]} {report.layer.value}\n\n" + "\n".join(lines) + suspect


def escape(text: object) -> str:
    """Text of the user's, so that neither markdown nor HTML in it takes effect."""
    flat = visible(" ".join(str(text).split()))
    for letters, entity in ENTITIES.items():
        flat = flat.replace(letters, entity)
    flat = re.sub(r"(?i)\bwww\.", "www&#46;", flat)
    flat = re.sub(r"^(\d{1,9})([.)])(?=\s|$)", lambda found: f"{found[1]}&#{ord(found[2])};", flat)
    return re.sub(r"([\\`*|\[\]~]|(?<!\w)_|_(?!\w)|^[#+\-=](?=[\s#+\-=]|$))", r"\\\1", flat)


def escaped_rows(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Rows of a table for Prefect, whose page takes every text in a cell for markdown."""
    return [{name: escape(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]


def fenced(lines: Iterable[str]) -> str:
    """Lines of a diff as a block of code, which nothing in them can end."""
    shown = [visible(line) for line in lines]
    fence = "`" * max(3, 1 + max((len(run) for line in shown for run in re.findall(r"`+", line)), default=0))
    return "\n".join([f"{fence}diff", *shown, fence])


def _finding(finding: Finding) -> str:
    place = f" ({escape(finding.where)})" if finding.where else ""
    measured = f", limit {escape(brief(finding.threshold))}" if finding.threshold is not None else ""
    value = f" Measured {escape(brief(finding.value))}{measured}." if finding.value is not None else ""
    fix = f"  \n  Remedy: {escape(finding.fix)}" if finding.fix else ""
    return f"- {MARKS[finding.status]} **{escape(finding.check)}**: {escape(finding.message)}{place}.{value}{fix}"


def _row(rung: Rung) -> str:
    if rung.report is None:
        return f"| {rung.mark} | {rung.layer.value} | {rung.state} | | {escape(rung.note)} |"
    counts = ", ".join(text for _, text in tally(rung.report)) or "none"
    return f"| {rung.mark} | {rung.layer.value} | {rung.state} | {duration(rung.report.seconds)} | {counts} |"


def _fault(fault: Fault, verdict: Verdict) -> str:
    word, why = tested(fault, verdict.outcomes)
    lines = [
        f"## {escape(what_is_wrong(fault.fault))}",
        f"`{fault.fault}` in {fault.layer.value}, confidence {percent(fault.confidence)}",
    ]
    if fault.where:
        lines.append(f"**Place**: {escape(fault.place)}")
    if evidence := proves(fault):
        lines.append(
            f"**Evidence** ({count(len(evidence), 'finding')})\n\n"
            + "\n".join(f"- {escape(line)}" for line in evidence[:MOST_FINDINGS])
        )
    lines.append(f"**Remedy**: {escape(fault.remedy)}")
    if fault.change:
        lines.append(f"**Change** in {escape(fault.change.file)}:{fault.change.line}\n\n" + fenced(diff(fault.change)))
    if fault.swap:
        lines.append(
            f"**Swap**: {escape(fault.swap.change)}: {escape(swap_numbers(fault.swap))} "
            f"({escape(swap_basis(fault.swap))})"
        )
    return "\n\n".join([*lines, f"**{sentence(word)}**: {escape(why)}"])
