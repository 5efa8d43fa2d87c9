"""What is counted of every request: how it ended, how long it took, how sure it was, and why it was kept."""

from __future__ import annotations

import bisect
from collections import defaultdict
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
_STAGE_NAMES = {stage: (f"stage:{stage}", f"stage:{stage}:millionths") for stage in STAGES}
Place = tuple[int, str, str, str]
"""Minute, model, version and arm."""


class Counts:
    """What was counted since the last time that it was written."""

    def __init__(self) -> None:
        self._counts: defaultdict[Place, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))

    def add(self, seen: Seen) -> None:
        """Count one request."""
        captured = seen.captured
        seconds, confidence = captured.total, seen.confidence
        place = (int(captured.time // 60) * 60, captured.model, captured.version, str(captured.arm))
        counts = self._counts[place]
        counts["requests"] += 1
        counts[_LATENCY_NAMES[bisect.bisect_left(LATENCIES, seconds)]] += 1
        counts["seconds:millionths"] += _millionths(seconds)
        for stage, seconds in captured.stages.items():
            if stage in _STAGE_NAMES:
                number, millionths = _STAGE_NAMES[stage]
                counts[number] += 1
                counts[millionths] += _millionths(seconds)
        if seen.outcome != "ok":
            counts[str(seen.outcome)] += 1
        if confidence is not None:
            counts[_CONFIDENCE_NAMES[min(9, bisect.bisect_left(CONFIDENCES, confidence))]] += 1
            counts["confidence:millionths"] += _millionths(confidence)
        if seen.kept is not None:
            for reason in seen.kept.reasons:
                counts[f"kept:{reason}"] += 1

    def rows(self) -> Sequence[dict[str, Any]]:
        """The counts as rows of the database, in an order that all writers share: they lock none of each other's."""
        names = ("minute", "model", "version", "arm")
        return [
            {**dict(zip(names, place, strict=True)), "name": name, "n": n}
            for place, counts in sorted(self._counts.items())
            for name, n in sorted(counts.items())
        ]

    def totals(self) -> Sequence[dict[str, Any]]:
        """The same without the minutes, but for the first and the last one."""
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for row in self.rows():
            names = {name: row[name] for name in ("model", "version", "arm", "name")}
            total = found.setdefault(tuple(names.values()), {**names, "n": 0, "since": row["minute"]})
            total.update(n=total["n"] + row["n"], last=row["minute"])
        return [found[names] for names in sorted(found)]

    def clear(self) -> None:
        """Begin again, after the rows were written."""
        self._counts.clear()


def _millionths(value: float) -> int:
    """A value as a whole number, which adds up without an error."""
    return int(value * MILLION) if 0 <= value <= LONGEST_SUMMED else 0
