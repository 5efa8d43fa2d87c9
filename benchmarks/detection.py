"""Detection: how many false incidents identical streams open, and how soon a change is found.

    python benchmarks/detection.py [--streams 10] [--changes 20]

A model of 30 features in one process, without a server: 2,000 requests say what is usual, then come 20,000 as usual
(false incidents per 100,000), or 500 as usual and then a change, of which the delay in requests is counted:

shift     one of the features on which the answers depend moves by half a deviation
errors    wrong answers, by labels, rise from 10 to 15 %
failures  requests that fail rise from 1 to 3 %
slower    the model takes 1.6 times as long

`speed` is how many requests a core looks at in a second, from records to evidence.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from typing import Any

import numpy as np

from firstfault.monitor.detect.detector import Detector
from firstfault.monitor.record import Arm, Cuts, Outcome, Record, Stages

FEATURES, HIDDEN, TOGETHER = 30, 5, 0.3
USUAL, QUIET, CHANGED, LONG = 2_000, 500, 4_000, 20_000
MARKS = {"false_per_100k": 1.0, "shift": 400, "errors": 1_500, "speed": 20_000}
START, HOUR = 1_793_620_800.0, "2026-11-02T12"
Array = np.ndarray[Any, Any]


class Service:
    """Answers requests whose features hang together, by a logistic model."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.mixing = self.rng.normal(size=(HIDDEN, FEATURES)) * (TOGETHER / HIDDEN) ** 0.5
        self.weights = self.rng.normal(size=FEATURES) * (self.rng.random(FEATURES) < 0.6)
        self.count = 0

    @property
    def strongest(self) -> list[int]:
        """The features that matter most."""
        return [int(at) for at in np.argsort(-np.abs(self.weights))[:10]]

    def records(
        self,
        n: int,
        *,
        moved: int | None = None,
        by: float = 0.5,
        wrong: float = 0.1,
        failing: float = 0.01,
        slower: float = 1.0,
    ) -> list[Record]:
        """Requests, one a second, as they are recorded."""
        rng = self.rng
        x = rng.normal(size=(n, HIDDEN)) @ self.mixing + (1 - TOGETHER) ** 0.5 * rng.normal(size=(n, FEATURES))
        if moved is not None:
            x[:, moved] += by * np.sqrt((self.mixing[:, moved] ** 2).sum() + 1 - TOGETHER)
        p = 1 / (1 + np.exp(-x @ self.weights))
        label = np.where(rng.random(n) < wrong, p <= 0.5, p > 0.5).astype(int)
        failed, seconds = rng.random(n) < failing, rng.lognormal(-4, 0.4, n) * slower
        rows = zip(x.tolist(), p.tolist(), label.tolist(), failed.tolist(), seconds.tolist(), strict=True)
        return [self._record(*row) for row in rows]

    def _record(self, x: list[float], p: float, label: int, failed: bool, seconds: float) -> Record:
        at, self.count = self.count, self.count + 1
        values: dict[str, Any] = {"raw": {f"c{name}": value for name, value in enumerate(x)}}
        if not failed:
            values |= {"logits": [p], "label": int(p > 0.5)}
        return Record(
            f"r{at}", "", "", START + at % 3_600, "function", "m", "1", Arm.CHAMPION, 500 if failed else 200,
            Outcome.ERROR if failed else Outcome.OK, Stages(seconds + 0.001, model=seconds), Cuts(),
            f"{HOUR}/w:{at}", values=values, confidence=None if failed else max(p, 1 - p), label=label,
            reasons=("sample",), weight=1.0,
        )  # fmt: skip


def false_incidents(streams: int) -> tuple[float, float, list[str]]:
    """Incidents per 100,000 requests as usual, requests per CPU second, and what the incidents said."""
    said, seconds = [], 0.0
    for seed in range(streams):
        service = Service(1_000 + seed)
        detector = Detector(baseline=service.records(USUAL))
        records = service.records(LONG)
        began = time.process_time()
        found = detector.feed(records)
        seconds += time.process_time() - began
        said += [incident.message for incident in found if incident.closed is None]
    return len(said) * 100_000 / (streams * LONG), streams * LONG / seconds, said


def delays(changes: int) -> dict[str, list[float]]:
    """Requests from each change to the incident; infinite where none came, 0 where one was open before."""
    found: dict[str, list[float]] = {"shift": [], "errors": [], "failures": [], "slower": []}
    for seed in range(changes):
        service = Service(2_000 + seed)
        learned = Detector(baseline=service.records(USUAL))
        learned.feed(service.records(QUIET))
        plans: dict[str, dict[str, Any]] = {
            "shift": {"moved": service.strongest[seed % 10]},
            "errors": {"wrong": 0.15},
            "failures": {"failing": 0.03},
            "slower": {"slower": 1.6},
        }
        for name, plan in plans.items():
            found[name].append(_delay(copy.deepcopy(learned), service.records(CHANGED, **plan)))
    return found


def _delay(detector: Detector, records: list[Record]) -> float:
    if detector.open:
        return 0.0
    for start in range(0, len(records), 8):
        if detector.feed(records[start : start + 8]):
            return float(start + 8)
    return float("inf")


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=10, help="streams of 20,000 requests as usual")
    parser.add_argument("--changes", type=int, default=20, help="models of which each change is made")
    asked = parser.parse_args()
    false, speed, said = false_incidents(asked.streams)
    print(f"as usual: {false:g} incidents per 100,000 requests, {speed:,.0f} requests/s/core {said}", flush=True)
    found = delays(asked.changes)
    summary = {}
    for name, each in found.items():
        values = np.array(each)
        summary[name] = {
            "median": float(np.median(values)),
            "q90": float(np.quantile(values, 0.9, method="lower")),
            "missed": float(np.isinf(values).mean()),
        }
        print(f"{name:<9} {summary[name]}", flush=True)
    result = {
        "false_per_100k": false,
        "requests": asked.streams * LONG,
        "delays": summary,
        "speed": round(speed),
        "marks": MARKS,
        "met": {
            "false_per_100k": false <= MARKS["false_per_100k"],
            "shift": summary["shift"]["median"] <= MARKS["shift"],
            "errors": summary["errors"]["median"] <= MARKS["errors"] and summary["errors"]["missed"] == 0,
            "speed": speed >= MARKS["speed"],
        },
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
