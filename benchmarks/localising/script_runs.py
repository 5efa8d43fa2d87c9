"""Scripts given unmodified to `firstfault run`: which verdicts are right, by style."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from localising.scripts import STYLES as OF_LOOPS
from localising.scripts import Style
from localising.trainer_scripts import OF_TRAINERS

STYLES = (*OF_LOOPS, *OF_TRAINERS)
LEAST_HARM = 0.03
LONGEST = 300  # seconds of one run
MARKS = {
    "layer": 0.95,
    "top1": 0.88,
    "recall": 0.92,
    "false_alarms": 0.02,
    "undecided_healthy": 0.05,
    "healthy_of_faulty": 0.03,
}
AT_MOST = {"false_alarms", "undecided_healthy", "healthy_of_faulty"}


@dataclass
class ScriptRun:
    """What came out for one script."""

    style: str
    fault: str | None
    layer: str | None
    right: frozenset[str]
    status: str
    found: list[str]
    found_layer: str | None
    seconds: float

    @property
    def good(self) -> bool:
        """Whether the verdict is right."""
        if self.fault is None:
            return self.status == "healthy"
        return bool(self.found) and self.found[0] in self.right


def run(faulty: int, healthy: int, seed: int) -> None:
    """Run the scripts, print a line for each, a table by style, and the marks."""
    runs = []
    jobs = [(seed * 1009 + number, False) for number in range(faulty)]
    jobs += [(seed * 1009 + number, True) for number in range(healthy)]
    for number, sound in jobs:
        entry = _one(number, sound)
        if entry is None:
            print(f"left out          {number}: the fault costs too little", flush=True)
            continue
        runs.append(entry)
        found = ", ".join(entry.found) or "–"
        name = f"{entry.fault or 'healthy'} · {entry.style}"
        mark = "ok" if entry.good else "MISS"
        print(f"{mark:<5} {entry.seconds:5.1f} s  {name:<60} {entry.status}: {found}", flush=True)
    result = summary(runs) | {"seed": seed}
    _print_styles(runs)
    for name, mark in MARKS.items():
        print(f"{name:<18} {result[name]:6.3f}   mark {'≤' if name in AT_MOST else '≥'} {mark}")
    met = all((result[name] <= mark) if name in AT_MOST else (result[name] >= mark) for name, mark in MARKS.items())
    print("RESULT", json.dumps({**result, "marks": MARKS, "met": met}))


def drawn(seed: int, *, healthy: bool) -> tuple[Style, str | None, str]:
    """A style, the fault planted in it, and the script's source; every style and fault takes its turn with the seed."""
    pairs = [(style, fault) for style in STYLES for fault in style.faults]
    style, fault = (STYLES[seed % len(STYLES)], None) if healthy else pairs[seed % len(pairs)]
    return style, fault, style.script(np.random.default_rng(seed), fault)


def _one(number: int, sound: bool) -> ScriptRun | None:
    style, fault, source = drawn(number, healthy=sound)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.py"
        if fault is not None and not _hurts(script, style, number, source):
            return None
        script.write_text(source)
        started = time.perf_counter()
        verdict = Path(folder) / "verdict.json"
        done = _python(script, "-m", "firstfault", "run", "--json", str(verdict), str(script))
        seconds = time.perf_counter() - started
        known: dict[str, Any] = json.loads(verdict.read_text()) if verdict.exists() else {}
    turn = style.faults[fault] if fault is not None else None
    return ScriptRun(
        style.name,
        fault,
        turn.layer if turn else None,
        turn.right if turn else frozenset(),
        known.get("status", f"crash ({done.returncode})"),
        [entry["fault"] for entry in known.get("faults", ())],
        known.get("first_faulty_layer"),
        seconds,
    )


def _hurts(script: Path, style: Any, number: int, source: str) -> bool:
    """Whether the faulty script scores less than its healthy twin, or crashes."""
    scores = []
    for text in (style.script(np.random.default_rng(number), None), source):
        script.write_text(text)
        found = re.search(r"METRIC (\S+)", _python(script, str(script)).stdout)
        scores.append(float(found.group(1)) if found else float("nan"))
    return not scores[0] - scores[1] < LEAST_HARM


def _python(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=script.parent, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
    )


def summary(runs: list[ScriptRun]) -> dict[str, Any]:
    """The marks of a benchmark run."""
    faulty, sound = [entry for entry in runs if entry.fault], [entry for entry in runs if not entry.fault]
    return {
        "faulty": len(faulty),
        "healthy": len(sound),
        "layer": _share(entry.found_layer == entry.layer for entry in faulty),
        "top1": _share(entry.good for entry in faulty),
        "recall": _share(bool(entry.right & set(entry.found)) for entry in faulty),
        "false_alarms": _share(entry.status not in ("healthy", "undecided") for entry in sound),
        "undecided_healthy": _share(entry.status == "undecided" for entry in sound),
        "healthy_of_faulty": _share(entry.status == "healthy" for entry in faulty),
        "seconds": round(statistics.median([entry.seconds for entry in runs] or [0.0]), 1),
    }


def _share(values: Any) -> float:
    known = list(values)
    return round(sum(known) / len(known), 3) if known else 0.0


def _print_styles(runs: list[ScriptRun]) -> None:
    styles: dict[str, list[ScriptRun]] = defaultdict(list)
    for entry in runs:
        styles[entry.style].append(entry)
    print(f"\n{'style':<34} {'faulty right':>14} {'healthy right':>14}")
    for style, entries in styles.items():
        faulty, sound = [entry for entry in entries if entry.fault], [entry for entry in entries if not entry.fault]
        shares = [f"{sum(entry.good for entry in part)} of {len(part)}" for part in (faulty, sound)]
        print(f"{style:<34} {shares[0]:>14} {shares[1]:>14}")
