"""What is counted of every request: how it ended, how long it took, how sure it was, and why it was kept."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from typing import Any

from firstfault.monitor.analysis import Seen

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the bins of a latency, in seconds."""
_LATENCY_NAMES = [*(f"seconds<={limit:g}" for limit in LATENCIES), "seconds>60"]
_CONFIDENCE_NAMES = [f"confidence<={tenth / 10:g}" for tenth in range(1, 11)]
Key = tuple[int, str, str, str, str]


class Counts:
    """What was counted since the last time that it was written."""

    def __init__(self) -> None:
        self._counter: Counter[Key] = Counter()

    def add(self, seen: Seen) -> None:
        """Count one request."""
        captured, counter = seen.captured, self._counter
        at = (int(captured.time // 60) * 60, captured.model, captured.version, str(captured.arm))
        counter[(*at, "requests")] += 1
        counter[(*at, _LATENCY_NAMES[bisect.bisect_left(LATENCIES, captured.total)])] += 1
        if seen.outcome != "ok":
            counter[(*at, str(seen.outcome))] += 1
        if seen.confidence is not None:
            counter[(*at, _CONFIDENCE_NAMES[min(9, max(0, int(seen.confidence * 10)))])] += 1
        if seen.kept is not None:
            for reason in seen.kept.reasons:
                counter[(*at, f"kept:{reason}")] += 1

    def rows(self) -> Sequence[dict[str, Any]]:
        """The counts as rows of the database."""
        names = ("minute", "model", "version", "arm", "name")
        return [{**dict(zip(names, key, strict=True)), "n": n} for key, n in self._counter.items()]

    def clear(self) -> None:
        """Begin again, after the rows were written."""
        self._counter.clear()
