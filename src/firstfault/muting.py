"""What a target does not want judged: a whole check, or what a check finds at one place, each with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from firstfault.finding import Finding, LayerReport, Status


def whole(finding: Finding, mutes: Mapping[str, str]) -> Finding:
    """What is said of a check that does not run, since its name is muted."""
    reason = mutes[finding.check]
    return replace(finding, status=Status.SKIPPED, message=f"muted: {reason}", muted=reason)


def at_place(finding: Finding, mutes: Mapping[str, str]) -> Finding:
    """A finding, skipped where `check:place` mutes it: by the text of its place, or by each of the names of that."""
    if finding.where is None or finding.status not in (Status.FAIL, Status.WARN):
        return finding
    at = {
        place: reason
        for key, reason in mutes.items()
        for check, _, place in [key.partition(":")]
        if check == finding.check
    }
    names = [str(finding.where)] if str(finding.where) in at else finding.where.names
    if not names or not at.keys() >= set(names):
        return finding
    reason = "; ".join(dict.fromkeys(at[name] for name in names))
    told = f"muted: {reason} ({finding.message})"
    return replace(finding, status=Status.SKIPPED, message=told, faults={}, fix=None, muted=reason)


def muted_in(reports: Iterable[LayerReport]) -> dict[str, str]:
    """What was muted in some reports, as `check` or `check:place`, with the reason."""
    return {
        finding.check if finding.where is None else f"{finding.check}:{finding.where}": finding.muted
        for report in reports
        for finding in report.findings
        if finding.muted is not None
    }


def name_of(key: str) -> str:
    """The check that `check` or `check:place` names."""
    return key.partition(":")[0]
