"""Verdicts and layer reports as markdown, for Prefect artifacts."""

from __future__ import annotations

from firstfault.finding import LayerReport, Status
from firstfault.verdict import Fault, Verdict

MARKS = {Status.PASS: "✓", Status.WARN: "!", Status.FAIL: "✗", Status.ERROR: "E", Status.SKIPPED: "–"}


def verdict_markdown(verdict: Verdict) -> str:
    """The verdict on top, then one row per layer."""
    first = verdict.first_faulty_layer
    title = f"# {verdict.target}: {verdict.status.value}" + (f", first in {first.value}" if first else "")
    faults = "\n\n".join(_fault(fault) for fault in verdict.faults)
    rows = "\n".join(
        f"| {MARKS[report.status]} | {report.layer.value} | {report.seconds:.1f} s | {len(report.failures)} | {len(report.findings)} |"
        for report in verdict.layers
    )
    table = f"| | layer | time | failed | findings |\n|---|---|---|---|---|\n{rows}"
    return "\n\n".join(part for part in (title, faults, table) if part)


def layer_markdown(report: LayerReport) -> str:
    """A layer's findings, the bad ones in full, the good ones counted."""
    bad = [finding for finding in report.findings if finding.status not in (Status.PASS, Status.SKIPPED)]
    lines = [
        f"- {MARKS[finding.status]} **{finding.check}**: {finding.message}" + (f"  \n  fix: {finding.fix}" if finding.fix else "")
        for finding in bad
    ]
    good = sum(finding.status is Status.PASS for finding in report.findings)
    skipped = sum(finding.status is Status.SKIPPED for finding in report.findings)
    lines.append(f"- {good} passed, {skipped} skipped, in {report.seconds:.1f} s")
    suspect = "\n\nSuspect: a layer below failed." if report.suspect else ""
    return f"## {MARKS[report.status]} {report.layer.value}\n\n" + "\n".join(lines) + suspect


def _fault(fault: Fault) -> str:
    tested = {True: "confirmed by undoing it", False: "undoing it did not restore the metric", None: "not tested by a swap"}
    lines = [f"## {fault.fault} ({fault.layer.value})", f"{tested[fault.confirmed]}, confidence {fault.confidence:.0%}"]
    if fault.where:
        lines.append(f"**Where**: {fault.where}")
    lines.append("**Evidence**\n" + "\n".join(f"- {line}" for line in fault.evidence))
    lines.append(f"**Remedy**: {fault.remedy}")
    return "\n\n".join(lines)
