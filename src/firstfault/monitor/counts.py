"""What is counted of every request: how it ended, how long it took, how sure it was, and why it was kept."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from typing import Any

from firstfault.monitor.analysis import Seen
from firstfault.monitor.record import STAGES

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper ends of the bins of a latency, in seconds."""
_LATENCY_NAMES = [*(f"seconds<={limit:g}" for limit in LATENCIES), "seconds>60"]
CONFIDENCES = tuple(tenth / 10 for tenth in range(1, 11))
"""Upper ends of the bins of a confidence."""
_CONFIDENCE_NAMES = [f"confidence<={limit:g}" for limit in CONFIDENCES]
MILLION = 1_000_000
LONGEST_SUMMED = 1e9
"""What is longer, negative or no number stands in its bin, and adds nothing to a sum."""
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
        counter[(*at, "seconds:millionths")] += _millionths(captured.total)
        for stage, seconds in captured.stages.items():
            if stage in STAGES:
                counter[(*at, f"stage:{stage}")] += 1
                counter[(*at, f"stage:{stage}:millionths")] += _millionths(seconds)
        if seen.outcome != "ok":
            counter[(*at, str(seen.outcome))] += 1
        if seen.confidence is not None:
            counter[(*at, _CONFIDENCE_NAMES[min(9, bisect.bisect_left(CONFIDENCES, seen.confidence))])] += 1
            counter[(*at, "confidence:millionths")] += _millionths(seen.confidence)
        if seen.kept is not None:
            for reason in seen.kept.reasons:
                counter[(*at, f"kept:{reason}")] += 1

    def rows(self) -> Sequence[dict[str, Any]]:
        """The counts as rows of the database, in an order that all writers share: they lock none of each other's."""
        names = ("minute", "model", "version", "arm", "name")
        return [{**dict(zip(names, key, strict=True)), "n": n} for key, n in sorted(self._counter.items())]

    def totals(self) -> Sequence[dict[str, Any]]:
        """The same without the minutes, but for the first and the last one."""
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for (minute, *key), n in sorted(self._counter.items()):
            names = dict(zip(("model", "version", "arm", "name"), key, strict=True))
            row = found.setdefault(tuple(key), {**names, "n": 0, "since": minute})
            row.update(n=row["n"] + n, last=minute)
        return [found[key] for key in sorted(found)]

    def clear(self) -> None:
        """Begin again, after the rows were written."""
        self._counter.clear()


def _millionths(value: float) -> int:
    """A value as a whole number, which adds up without an error."""
    return int(value * MILLION) if 0 <= value <= LONGEST_SUMMED else 0
