"""What a ydata-profiling report of a sample draws attention to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from firstfault.check import Depth, Judgement, check, skipped
from firstfault.finding import Layer, Status
from firstfault.profiling import ALERTS, PAGE, SECONDS

WORRYING = {"missing", "constant", "infinite", "duplicates", "empty", "unsupported", "non_stationary"}


@check(layer=Layer.DATA, needs={"profiling"}, detects={}, depth=Depth.STANDARD)
def profile_alerts(subject: Any) -> Iterator[Judgement]:
    """Report the alerts of a ydata-profiling report of a sample (≤ 1,000 rows, ≤ 30 columns, 45 s); `value` is how many.

    Alerts describe columns: they warn or inform, and are evidence for no fault on their own.

    Source: ydata-profiling's alerts with its default thresholds.
    """
    profiling = subject.profiling
    found = profiling.collect()
    if found is None:
        yield skipped(f"the profile did not end within {SECONDS:.0f} s")
        return
    by_kind: dict[str, list[str]] = defaultdict(list)
    for alert in found:
        by_kind[alert["alert"]].append(str(alert["column"] or "table"))
    for kind, columns in by_kind.items():
        yield Judgement(
            Status.WARN if kind in WORRYING else Status.PASS,
            f"{kind.replace('_', ' ')}: {len(columns)} of {profiling.columns} columns in a sample of {profiling.rows} rows",
            value=len(columns), where=", ".join(columns[:8]), faults={}, artifacts=(PAGE, ALERTS),
        )
    if not by_kind:
        yield Judgement(Status.PASS, f"no alerts in a sample of {profiling.rows} rows", value=0, artifacts=(PAGE, ALERTS))
