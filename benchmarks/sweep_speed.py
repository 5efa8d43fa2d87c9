"""How much faster two workers are than one.

The same grid runs on processes, one after the other, in turns; the limit is 1.7 × on two cores.

Both start their processes anew and load the target in them. The trainings are long beside that, and torch has one
thread in each worker. On a machine that others use the ratio of wall times says little: the load is printed beside
it, and the ratio by CPU time.

    python benchmarks/sweep_speed.py [--rounds 2] [--epochs 80]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

LIMIT = 1.7
GRID = "lr=0.0003,0.001,0.003"
TARGET = """
import numpy as np
from torch import nn
from firstfault import Data, Target, Training

random = np.random.default_rng(0)
y = random.integers(0, 5, 6000)
X = (random.normal(size=(6000, 64)) + random.normal(size=(5, 64))[y]).astype("float32")

target = Target(
    "speed", data=Data(train=(X, y)), training=Training(epochs={epochs}, batch_size=64),
    model=lambda: nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 5)),
)
"""


def measure(folder: Path, workers: int) -> tuple[float, float, object]:
    """Wall seconds and CPU seconds of the sweep with that many workers, and its table."""
    from firstfault.ablation.sweeps.fingerprint import fingerprint
    from firstfault.ablation.sweeps.sweep import sweep
    from firstfault.runs.ref import RunRef
    from firstfault.subject.opening import open_subject

    run = RunRef(f"{folder}/target.py:target", tempfile.mkdtemp(dir=folder), str(folder / "state"))
    subject = open_subject(run)
    fingerprint(subject)  # what this process imports once is no part of a sweep
    started, before = time.perf_counter(), os.times()
    result = sweep(
        subject,
        grid=GRID,
        seeds=4,
        engine="processes",
        jobs=workers,
        origin=run,
        storage=folder / f"{time.time_ns()}.journal",
    )
    seconds, after = time.perf_counter() - started, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    return seconds, cpu, result.rows


def main() -> None:
    """Print a row per sweep, then the ratio."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--epochs", type=int, default=80)
    asked = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = Path(tempfile.mkdtemp(prefix="sweep-speed-"))
    os.environ["FIRSTFAULT_HOME"] = str(folder / "state")
    (folder / "target.py").write_text(TARGET.format(epochs=asked.epochs))
    seconds: dict[int, list[float]] = {1: [], 2: []}
    cpu_seconds: dict[int, list[float]] = {1: [], 2: []}
    tables = []
    print(
        f"{len(os.sched_getaffinity(0))} cores; 12 trainings of {asked.epochs} epochs\n\n"
        "workers  seconds  CPU seconds  CPU / wall  load before"
    )
    for number in range(2 * asked.rounds):
        workers, load = (1, 2, 2, 1)[number % 4], os.getloadavg()[0]
        wall, cpu, rows = measure(folder, workers)
        seconds[workers].append(wall)
        cpu_seconds[workers].append(cpu)
        tables.append(rows)
        print(f"{workers:7} {wall:8.1f} {cpu:12.1f} {cpu / wall:11.2f} {load:12.2f}", flush=True)
    ratio = statistics.median(seconds[1]) / statistics.median(seconds[2])
    idle = 2 * statistics.median(cpu_seconds[1]) / statistics.median(cpu_seconds[2])
    same = all(rows == tables[0] for rows in tables)
    verdict = "met" if ratio >= LIMIT else "missed"
    print(f"\ntwo workers are {ratio:.2f} × one (at least {LIMIT}: {verdict}); equal tables: {same}")
    print(f"by CPU seconds, as if both cores had been idle: {idle:.2f} ×")
    print(
        "RESULT "
        + json.dumps(
            {
                "benchmark": "sweep_speed",
                "ratio": round(ratio, 3),
                "ratio_by_cpu": round(idle, 3),
                "limit": LIMIT,
                "met": ratio >= LIMIT,
                "equal_tables": same,
                "seconds": {str(workers): [round(value, 1) for value in values] for workers, values in seconds.items()},
                "load": round(os.getloadavg()[0], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
