"""Does a busy machine change a verdict? The same programs, alone and with busy processes beside them.

    python benchmarks/load.py [--programs 10] [--busy 4] [--seed 0]

Two of three programs are faulty; both come from localising/. Every program is diagnosed alone and beside `--busy`
processes that compute without end, each time by a process of its own and with the threads that firstfault chooses.
A verdict is its status, its layer, its faults in their order, and whether they are confirmed. Last line:
`RESULT {json}`; exit code 1 where a verdict differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from localising.faults import FAULTS
from localising.programs import PROGRAMS, Program

BUSY = "while True: sum(range(10_000))"


def main() -> None:
    """Diagnose every program twice, print both verdicts, and end with the RESULT line."""
    options = _options()
    if options.one is not None:
        print(json.dumps(diagnosed(options.one, options.seed)))
        return
    rows = [_both(number, options.seed, options.busy) for number in range(options.programs)]
    differing = [row["program"] for row in rows if row["alone"]["verdict"] != row["beside"]["verdict"]]
    result = {"programs": len(rows), "busy": options.busy, "seed": options.seed, "differing": differing}
    for arm in ("alone", "beside"):
        result[arm] = {clock: round(sum(row[arm][clock] for row in rows), 1) for clock in ("wall", "cpu")}
    print("RESULT", json.dumps(result))
    sys.exit(bool(differing))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=10)
    parser.add_argument("--busy", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _both(number: int, seed: int, busy: int) -> dict[str, Any]:
    alone = _one(number, seed)
    with crowd(busy):
        beside = _one(number, seed)
    mark = "same  " if alone["verdict"] == beside["verdict"] else "DIFFER"
    print(
        f"{mark} {alone['program']:<48} {alone['wall']:6.1f} s {beside['wall']:6.1f} s  {alone['verdict']}", flush=True
    )
    if mark == "DIFFER":
        print(f"{'':>55} beside the crowd: {beside['verdict']}", flush=True)
    return {"program": alone["program"], "alone": alone, "beside": beside}


def _one(number: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--seed", str(seed), "--one", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def crowd(busy: int) -> Iterator[None]:
    """Processes that compute beside what is in the block."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def program_of(number: int, seed: int) -> tuple[str, Program]:
    """A program by its number: its name, and itself; every third is healthy."""
    rng = np.random.default_rng([seed, number])
    if number % 3 == 2:
        program = PROGRAMS[int(rng.integers(len(PROGRAMS)))](rng)
        return f"healthy {program.kind}", program
    kinds = [kind for kind in FAULTS if kind.hurts]
    while True:
        kind, program = kinds[int(rng.integers(len(kinds)))], PROGRAMS[int(rng.integers(len(PROGRAMS)))](rng)
        if (broken := kind.plant(program, rng)) is not None:
            return f"{kind.id} {broken.kind}", broken


def diagnosed(number: int, seed: int) -> dict[str, Any]:
    """The verdict on one program, with the seconds by both clocks."""
    from firstfault.check import Depth
    from firstfault.diagnosis import diagnose
    from firstfault.subject.subject import Subject

    warnings.simplefilter("ignore")
    name, program = program_of(number, seed)
    began = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        verdict = diagnose(Subject(program.target("program"), Path(folder)), Depth.STANDARD)
    layer = verdict.first_faulty_layer
    faults = [[fault.fault, fault.confirmed] for fault in verdict.faults]
    return {
        "program": name,
        "verdict": [verdict.status.value, layer.value if layer else None, faults],
        "wall": time.perf_counter() - began[0],
        "cpu": time.process_time() - began[1],
    }


if __name__ == "__main__":
    main()
