"""Where the time of a debug run goes: `--help`, the bare checks, and what orchestration adds to them.

Prints the median of a few runs of each, as ratios and differences to a limit measured or stated in
the same run. From Enter to the verdict (`debug --bare --timings`), wall and CPU seconds are shown, by
phase too: on a busy machine only the CPU seconds can be compared. Last line: `RESULT {json}`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "examples" / "digits" / "target.py"
DEPTHS = ("quick", "standard")
COMMAND = [str(Path(sys.executable).parent / "firstfault")]
LIMITS = {
    "help_seconds": 0.3,
    "orchestration_seconds": 5.0,
    "warm_debug_seconds": 60.0,
    "quick_verdict_seconds": 3.0,
    "standard_verdict_seconds": 8.0,
}

BARE = """
import json, sys, time
from pathlib import Path
from firstfault import load_target
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.subject.subject import Subject
import torch, mlflow
started = time.perf_counter()
verdict = diagnose(Subject(load_target(sys.argv[1]), Path(sys.argv[2])), Depth.STANDARD)
layers = {report.layer.value: round(report.seconds, 2) for report in verdict.layers}
print(json.dumps({"seconds": time.perf_counter() - started, "layers": layers, "status": verdict.status.value}))
"""


def main() -> None:
    """Measure, print a table, and end with the RESULT line."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FIRSTFAULT_HOME"] = f"{folder}/.firstfault"
        try:
            result = _measure(Path(folder))
        finally:
            subprocess.run([*COMMAND, "down"], cwd=folder, capture_output=True, check=False)
    for name, limit in LIMITS.items():
        print(f"{name:<24} {result[name]:7.2f} s   limit {limit:5.1f} s   ratio {result[name] / limit:.2f}")
    for depth in DEPTHS:
        spent = ", ".join(f"{name} {seconds['cpu']:.1f}" for name, seconds in result[f"{depth}_phases"].items())
        before = result[f"{depth}_verdict_cpu_seconds"]
        print(f"{depth}: {result[f'{depth}_cpu_seconds']:.1f} CPU s, {before:.1f} before the verdict: {spent}")
    print("layers (bare):", ", ".join(f"{layer} {seconds:.1f} s" for layer, seconds in result["layers"].items()))
    print("RESULT", json.dumps(result))


def _measure(folder: Path) -> dict:
    helps = [_wall([*COMMAND, "--help"]) for _ in range(5)]
    _orchestrated(folder)  # the first run pays for migrations: not warm
    entered = {depth: [_entered(folder, depth) for _ in range(3)] for depth in DEPTHS}
    pairs = [(_bare(folder, number), _orchestrated(folder)) for number in range(3)]
    bare = statistics.median(pair[0]["seconds"] for pair in pairs)
    inside = statistics.median(pair[1]["seconds"] for pair in pairs)
    wall = statistics.median(pair[1]["wall"] for pair in pairs)
    return {
        "help_seconds": round(statistics.median(helps), 3),
        "bare_seconds": round(bare, 2),
        "debug_seconds": round(inside, 2),
        "warm_debug_seconds": round(wall, 2),
        "orchestration_seconds": round(inside - bare, 2),
        "status": pairs[-1][1]["status"],
        "layers": pairs[-1][0]["layers"],
        **{name: value for depth in DEPTHS for name, value in _of_depth(depth, entered[depth]).items()},
    }


def _entered(folder: Path, depth: str) -> dict:
    """The timings of a bare run, from Enter on."""
    command = [*COMMAND, "debug", str(TARGET), "--bare", "--depth", depth, "--timings"]
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    newest = max((folder / ".firstfault" / "runs").glob("*/timings.json"), key=lambda file: file.stat().st_mtime)
    return json.loads(newest.read_text())


def _of_depth(depth: str, runs: list[dict]) -> dict:
    median = sorted(runs, key=lambda run: run["verdict"])[len(runs) // 2]
    return {
        f"{depth}_verdict_seconds": round(median["verdict"], 2),
        f"{depth}_verdict_cpu_seconds": round(statistics.median(run["verdict_cpu"] for run in runs), 2),
        f"{depth}_cpu_seconds": round(statistics.median(run["cpu"] for run in runs), 2),
        f"{depth}_phases": median["phases"],
    }


def _wall(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=False)
    return time.perf_counter() - started


def _bare(folder: Path, number: int) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", BARE, str(TARGET), f"{folder}/bare{number}"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _orchestrated(folder: Path) -> dict:
    wall = _wall([*COMMAND, "debug", str(TARGET), "--json", f"{folder}/v.json"])
    verdict = json.loads(Path(f"{folder}/v.json").read_text())
    return {"wall": wall, "seconds": verdict["seconds"], "status": verdict["status"]}


if __name__ == "__main__":
    main()
