"""What lists and tables show of a run: a short name, the verdict in three words, and one metric."""

from __future__ import annotations

from datetime import datetime

from firstfault.report.formatting import undecided
from firstfault.verdict import Verdict, VerdictStatus

DIGITS = 4
"""As many as a column of the table shows."""


def begun(kind: str) -> str:
    """The name of a run that has just begun."""
    return f"{kind}, {datetime.now():%d %b %H:%M}"


def ended(verdict: Verdict) -> str:
    """The name of a run that has its verdict: a mark, the layer, the fault."""
    first, layer = verdict.first_faulty_layer, verdict.first_faulty_layer.value if verdict.first_faulty_layer else ""
    if verdict.status is VerdictStatus.HEALTHY:
        return "✓ healthy"
    if verdict.status is VerdictStatus.UNDECIDED:
        layers = dict.fromkeys(finding.layer.value for finding in undecided(verdict))
        return f"? undecided: {', '.join(layers) or 'too little was examined'}"
    if verdict.status is VerdictStatus.ERROR:
        return "! a check of firstfault crashed"
    return f"✗ {layer}: {', '.join(fault.fault for fault in verdict.faults)}" if first else "✗ faulty"


def in_words(verdict: Verdict) -> dict[str, str]:
    """The tags of a run's row in the table of runs."""
    first = verdict.first_faulty_layer
    return {
        "verdict": verdict.status.value,
        "faulty_layer": first.value if first else "none",
        "fault": ", ".join(fault.fault for fault in verdict.faults) or "none",
    }


def undone(verdict: Verdict, metric: str) -> dict[str, float]:
    """The metric of the target as it is and with its fault undone, where a swap has compared them."""
    for fault in verdict.faults:
        swap = fault.swap
        if swap is not None and swap.metric == metric:
            values = {metric: swap.before, f"{metric}_fixed": swap.after}
            return {name: round(value, DIGITS) for name, value in values.items() if value is not None}
    return {}
