"""Does the verdict name the right layer and fault? Faulty and healthy targets, generated anew from every seed.

    python benchmarks/localise.py [--faulty 80] [--healthy 60] [--seed 0] [--part k/n] [--slower MS] [--json FILE]

Every faulty target is one of ten networks (localising/programs.py) or two estimators (localising/estimators.py) with
one of their faults; sizes, widths, rates, loops and seeds are drawn at random. `--bases` draws from one kind alone. A
fault that must hurt is left out, with a note, where two trainings of the healthy twin are not each better than both of
the faulty target by 0.03 (accuracy, R²). The programs train in seconds, so that what a diagnosis does once (it profiles
the data, serves the model) outweighs a training: `--slower` lets every training step wait, as a larger model would.
Last line: `RESULT {json}`.

    python benchmarks/localise.py --without RULE[,RULE] | each [--part k/n]

Prints the verdicts lost and gained, and the seconds, without each of these rules of a confirmation, on a fixed sample
of programs (localising/without.py). `--faulty`, `--healthy` and `--seed` don't apply.

    python benchmarks/localise.py --scripts [--faulty 24] [--healthy 24] [--seed 0]

Scripts in today's styles (localising/scripts.py: dicts and masks, graphs, adversaries, packed sequences …;
localising/trainer_scripts.py: Trainer, Lightning, accelerate), drawn at random, given unmodified to `firstfault run`
(localising/script_runs.py).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from localising.estimators import ESTIMATOR_FAULTS, ESTIMATORS, Fitted
from localising.faults import FAULTS, FaultKind
from localising.programs import PROGRAMS, Program
from localising.script_runs import run as run_scripts
from localising.without import run as run_without

from firstfault.ablation.confirm.rules import RULES, Rules
from firstfault.check import Depth
from firstfault.diagnosis import diagnose
from firstfault.subject.subject import Subject

LEAST_HARM = 0.03
AT_LEAST = {"layer": 0.95, "top1": 0.88, "recall": 0.92, "precision": 0.85}
AT_MOST = {"false_alarms": 0.02, "undecided_healthy": 0.05, "healthy_of_faulty": 0.03, "seconds": 8.0}


@dataclass
class Outcome:
    """What came out for one target."""

    name: str
    planted: str | None
    layer: str | None
    found: list[str]
    found_layer: str | None
    confirmed: bool | None
    status: str
    seconds: float
    training_seconds: float
    note: str = ""


def main() -> None:
    """Run the chosen part, print every miss, the confusion of layers and the marks."""
    options = _options()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if options.scripts:
        run_scripts(options.faulty, options.healthy, options.seed)
        return
    if options.without:
        run_without(options.without, options.part)
        return
    part, parts = (int(number) for number in options.part.split("/"))
    jobs = _jobs(options)[part - 1 :: parts]
    outcomes, left_out = [], []
    for kind, seed in jobs:
        outcome = _one(kind, seed, options.slower / 1000, options.bases)
        if outcome is None:
            continue
        (left_out if outcome.note else outcomes).append(outcome)
        print(_line(outcome), flush=True)
    result = summary(outcomes) | {
        "left_out": [entry.name for entry in left_out],
        "seed": options.seed,
        "part": options.part,
        "slower": options.slower,
        "marks": AT_LEAST | AT_MOST,
    }
    result["met"] = all(result[name] >= mark for name, mark in AT_LEAST.items()) and all(
        result[name] <= mark for name, mark in AT_MOST.items()
    )
    if options.json:
        options.json.write_text(
            json.dumps({"outcomes": [asdict(entry) for entry in outcomes], "summary": result}, indent=1)
        )
    _print(outcomes, result)
    print("RESULT", json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faulty", type=int, default=80)
    parser.add_argument("--healthy", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", default="1/1")
    parser.add_argument(
        "--without", type=_rules, metavar="RULE[,RULE]", help="what these rules of a confirmation earn; or `each`"
    )
    parser.add_argument("--scripts", action="store_true", help="scripts in today's styles, by `firstfault run`")
    parser.add_argument(
        "--bases", choices=("all", "networks", "estimators"), default="all", help="the programs that are drawn"
    )
    parser.add_argument("--only", help="only this fault")
    parser.add_argument("--slower", type=float, default=0.0, help="milliseconds that every training step takes longer")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _rules(text: str) -> list[str]:
    try:
        return [rule.id for rule in RULES] if text == "each" else sorted(Rules(text.split(",")).without)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _jobs(options: argparse.Namespace) -> list[tuple[FaultKind | None, int]]:
    """The targets in an order in which every part holds all kinds."""
    kinds = [kind for kind in _faults(options.bases) if options.only in (None, kind.id)]
    faulty: list[tuple[FaultKind | None, int]] = [
        (kinds[number % len(kinds)], options.seed * 100_003 + number) for number in range(options.faulty)
    ]
    healthy: list[tuple[FaultKind | None, int]] = [
        (None, options.seed * 100_003 + 50_000 + number) for number in range(options.healthy)
    ]
    order = np.random.default_rng(options.seed).permutation(len(faulty) + len(healthy))
    return [(faulty + healthy)[index] for index in order]


def _faults(bases: str) -> list[FaultKind]:
    return [*(FAULTS if bases != "estimators" else []), *(ESTIMATOR_FAULTS if bases != "networks" else [])]


def _one(kind: FaultKind | None, seed: int, wait: float, bases: str) -> Outcome | None:
    rng = np.random.default_rng(seed)
    if kind is None:
        known = {"networks": PROGRAMS, "estimators": ESTIMATORS}.get(bases, PROGRAMS + ESTIMATORS)
        program = _slower(known[seed % len(known)](rng), wait)
        return _diagnosed(program, None, f"healthy {program.kind} {seed}", _score(program)[1])
    for _ in range(40):
        program = _slower(kind.bases[int(rng.integers(len(kind.bases)))](rng), wait)
        broken = kind.plant(copy.deepcopy(program), rng)
        if broken is not None:
            name = f"{kind.id} {program.kind} {seed}"
            note, seconds = _harmless(kind, program, broken)
            if note:
                return Outcome(name, kind.id, kind.layer, [], None, None, "", 0.0, 0.0, note)
            return _diagnosed(broken, kind, name, seconds)
    return None


def _slower(program: Program, wait: float) -> Program:
    """The program, whose model waits for `wait` seconds whenever it is called in train mode."""

    def build() -> torch.nn.Module:
        model = program.build()
        model.register_forward_pre_hook(lambda module, inputs: time.sleep(wait) if module.training else None)
        return model

    return replace(program, build=build) if wait and not isinstance(program, Fitted) else program


def _harmless(kind: FaultKind, program: Program, broken: Program) -> tuple[str, float]:
    """Why a fault that must hurt does not, or nothing; and the seconds of one training of the faulty target."""
    runs = [_score(replace(broken, seed=broken.seed + number)) for number in range(2)]
    seconds = statistics.fmean(run[1] for run in runs)
    if not kind.hurts:
        return "", seconds
    healthy = [_score(replace(program, seed=program.seed + number))[0] for number in range(2)]
    bad = [run[0] for run in runs]
    if not all(np.isfinite(bad)):
        return "", seconds
    gain = min(healthy) - max(bad)
    return ("" if gain > LEAST_HARM else f"the fault costs only {gain:.3f}"), seconds


def _score(program: Program) -> tuple[float, float]:
    """The validation score of one training (NaN when it fails), and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        try:
            trained = Subject(program.target("twin"), Path(folder)).trained
            score = float("nan") if trained.crash is not None else float(trained.score)
        except Exception:
            score = float("nan")
    return score, time.perf_counter() - started


def _diagnosed(program: Program, kind: FaultKind | None, name: str, training_seconds: float) -> Outcome:
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            verdict = diagnose(Subject(program.target("program"), Path(folder)), Depth.STANDARD)
        except Exception as error:
            return Outcome(
                name, kind and kind.id, kind and kind.layer, [f"crashed: {error!r}"], "crash", None, "crash", 0.0, 0.0
            )
    first = verdict.first_faulty_layer
    return Outcome(
        name,
        kind.id if kind else None,
        kind.layer if kind else None,
        [entry.fault for entry in verdict.faults],
        first.value if first else None,
        verdict.faults[0].confirmed if verdict.faults else None,
        verdict.status.value,
        time.perf_counter() - started,
        training_seconds,
    )


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """The marks: shares over faulty and healthy targets, and the median seconds."""
    faulty, healthy = [entry for entry in outcomes if entry.planted], [entry for entry in outcomes if not entry.planted]
    hits = sum(entry.planted in entry.found for entry in faulty)
    listed = sum(len(entry.found) for entry in outcomes)
    return {
        "faulty": len(faulty),
        "healthy": len(healthy),
        "layer": _share(entry.found_layer == entry.layer for entry in faulty),
        "top1": _share(entry.found[:1] == [entry.planted] for entry in faulty),
        "recall": round(hits / max(len(faulty), 1), 3),
        "precision": round(hits / max(listed, 1), 3),
        "false_alarms": _share(entry.status not in ("healthy", "undecided") for entry in healthy),
        "undecided_healthy": _share(entry.status == "undecided" for entry in healthy),
        "healthy_of_faulty": _share(entry.status == "healthy" for entry in faulty),
        "seconds": round(statistics.median([entry.seconds for entry in outcomes] or [0.0]), 2),
        "times_training": round(
            statistics.median([entry.seconds / max(entry.training_seconds, 1e-3) for entry in outcomes] or [0.0]), 2
        ),
    }


def _share(values: Any) -> float:
    known = list(values)
    return round(sum(known) / len(known), 3) if known else 0.0


def _line(entry: Outcome) -> str:
    good = entry.found[:1] == [entry.planted] if entry.planted else entry.status == "healthy"
    mark = "left out" if entry.note else "ok" if good else "MISS"
    found = f"{entry.found_layer or '–'}: {', '.join(entry.found) or '–'}"
    return f"{mark:<8} {entry.seconds:5.1f} s  {entry.name:<52} {found} {entry.note}"


def _print(outcomes: list[Outcome], result: dict[str, Any]) -> None:
    rows = ["data", "preprocessing", "model", "training", "deployment", None]
    table = Counter((entry.layer, entry.found_layer) for entry in outcomes)
    columns = [*rows, "safety", "crash"]
    print(f"\n{'planted, found →':<18}" + "".join(f"{column or 'none':>15}" for column in columns))
    for row in rows:
        print(f"{row or 'none':<18}" + "".join(f"{table[row, column]:>15}" for column in columns))
    print("\nmisses:")
    for entry in outcomes:
        if (entry.planted and entry.found[:1] != [entry.planted]) or (not entry.planted and entry.status != "healthy"):
            print(" ", _line(entry))
    for name, mark in (AT_LEAST | AT_MOST).items():
        print(f"{name:<18} {result[name]:7.3f}   mark {'≥' if name in AT_LEAST else '≤'} {mark}")


if __name__ == "__main__":
    main()
