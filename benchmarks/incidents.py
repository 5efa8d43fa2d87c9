"""Are incidents found, and is the first faulty layer named? Streams of served requests, drawn anew from every seed.

    python benchmarks/incidents.py [--planted 78] [--healthy 63] [--delays 20] [--seed 0] [--only KIND[,KIND]]
                                   [--part k/n] [--given] [--json FILE] [--bases FOLDER]

Five models that firstfault trained itself (two tables with classes, one with numbers, images, texts) and the example's
assistant answer real requests by real serving code (monitoring/served/). At the onset one thing changes: what is sent
(upstream.py), a part of the serving code (serving_faults.py), the world (training_faults.py), the load, which is
simulated (load_faults.py), the assistant's safety (assistant.py), or what is seen of it all (telemetry_faults.py). A
fault that must hurt is drawn again where it changes too few answers. What only looks like an incident
(look_alikes.py) goes on being answered rightly. Requests become records by the monitor's own analysis.

Detection is given the records as they come; the incident that it opens is diagnosed with the target's file. With
`--given`, the true window is diagnosed instead. Each stream has one line; the last line is `RESULT {json}`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from monitoring.served.catalogue import KINDS, base
from monitoring.served.delays import delay, more_errors, shifted
from monitoring.served.drawing import Job, case_of
from monitoring.served.figures import AT_LEAST, DELAY, FALSE_PER_100_000, LABELS, line, summary
from monitoring.served.judging import Diagnosis, Judged, given, judged_of, note_verdict, watched
from monitoring.served.look_alikes import LOOK_ALIKES

LABELS_COME = 600.0
"""Seconds after their requests."""


def main() -> None:
    """Run the chosen part, tell each stream, and print the marks."""
    options = _options()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    diagnosis, found = Diagnosis(), []
    for job in _jobs(options):
        judged = _one(job, options, diagnosis)
        if judged is not None:
            found.append(judged)
            print(line(judged), flush=True)
            _keep(options.json, found)
    result: dict[str, Any] = summary(found, detected=not options.given)
    if not options.given and not options.only:
        result |= _delays(options)
    result |= {"seed": options.seed, "part": options.part, "given": options.given}
    result["met"] = _met(result)
    print("RESULT " + json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planted", type=int, default=2 * len(KINDS))
    parser.add_argument("--healthy", type=int, default=9 * len(LOOK_ALIKES))
    parser.add_argument("--delays", type=int, default=20, help="streams of each kind of delay")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="kinds, parted by commas")
    parser.add_argument("--part", default="1/1", help="the k-th of n parts")
    parser.add_argument("--given", action="store_true", help="diagnose the true window, without detection")
    parser.add_argument("--json", type=Path, help="where the outcomes of single streams go")
    parser.add_argument("--bases", type=Path, help="where the targets and their weights are kept for the next run")
    options = parser.parse_args()
    if options.bases is None:
        options.bases = Path(tempfile.gettempdir()) / "firstfault-served"
    return options


def _jobs(options: argparse.Namespace) -> list[Job]:
    """The streams of a part, in an order in which every part holds all kinds."""
    only = options.only.split(",") if options.only else None
    kinds = [kind for kind in KINDS if only is None or kind.id in only]
    alike = [kind for kind in LOOK_ALIKES if only is None or kind.id in only]
    first = options.seed * 100_003
    jobs = [Job(kinds[number % len(kinds)], first + number) for number in range(options.planted) if kinds]
    jobs += [Job(alike[number % len(alike)], first + 50_000 + number) for number in range(options.healthy) if alike]
    part, parts = (int(number) for number in options.part.split("/"))
    order = np.random.default_rng(options.seed).permutation(len(jobs))
    return [jobs[index] for index in order][part - 1 :: parts]


def _one(job: Job, options: argparse.Namespace, diagnosis: Diagnosis) -> Judged | None:
    with tempfile.TemporaryDirectory() as folder:
        case = case_of(job, options.bases, Path(folder))
        if case is None:
            print(f"left out: {job.name}, since no draw did enough harm", flush=True)
            return None
        judged, began = judged_of(case), time.perf_counter()
        try:
            store = case.stream.recording.write(LABELS_COME)
            incident = given(case, store) if options.given else watched(case, judged, store)
            if incident is not None:
                note_verdict(judged, diagnosis.verdict(case.base, incident, store, Path(folder) / "diagnosed"))
        except Exception as error:
            judged.note = f"{type(error).__name__}: {error}"
        judged.seconds = time.perf_counter() - began
    return judged


def _delays(options: argparse.Namespace) -> dict[str, Any]:
    """How soon half a deviation and five more errors in a hundred are seen."""
    part, parts = (int(number) for number in options.part.split("/"))
    seeds = [options.seed * 100_003 + 90_000 + number for number in range(options.delays)][part - 1 :: parts]
    sensors, told = base("sensors", options.bases), {}
    for name, plan, labelled in (("shift", shifted, 0.0), ("errors", more_errors, 1.0)):
        with tempfile.TemporaryDirectory() as folder:
            found = [delay(sensors, seed, plan, Path(folder) / str(seed), labelled) for seed in seeds]
        known = [one["delay"] for one in found]
        reached = [float("inf") if one is None else one for one in known]
        told[f"{name}_delays"] = known
        told[f"{name}_median"] = _finite(statistics.median(reached)) if reached else None
        told[f"{name}_most"] = _finite(max(reached)) if reached else None
        print(f"{name}: {[(one['delay'], one['monitor']) for one in found]}", flush=True)
    return told


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _met(result: dict[str, Any]) -> dict[str, bool]:
    met = {name: result[name] >= mark for name, mark in AT_LEAST.items()}
    met["proven_or_unproven"] = result["proven_or_unproven"] == 1.0
    if "false_per_100_000" in result:
        met["false_incidents"] = result["false_per_100_000"] <= FALSE_PER_100_000
    if "shift_median" in result:
        met["shift"] = result["shift_median"] is not None and result["shift_median"] <= DELAY
        met["errors"] = result["errors_most"] is not None and result["errors_most"] <= LABELS
    return met


def _keep(path: Path | None, found: list[Judged]) -> None:
    if path is not None:
        path.write_text(json.dumps([asdict(one) for one in found], indent=1))


if __name__ == "__main__":
    main()
