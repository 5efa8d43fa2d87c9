"""Intervals of a rate from a weak scorer and sixty of people's labels: how often they cover, and how wide they are.

    python benchmarks/scorer_intervals.py FOLDER [--labels 60] [--draws 500]

FOLDER has the answers of XSTest that people labelled (`answers_*.csv`: type, completion, final_label); the openings in
tests/safety/xstest do as well. A suite is the answers of one model to the prompts of one kind, safe or unsafe, and the
rate is that of whole refusals, or of whole and partial ones, by people. Labels are drawn as `firstfault behaviour
--label-sheet` draws them. Beside ours:

scorer     the scorer's own rate with Wilson's interval, as most tools print it
people     Wilson's interval of as many labels drawn without the scorer
ppi        textbook prediction-powered inference, with a normal interval
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import pandas as pd

from firstfault.behaviour.scorers import refuses
from firstfault.behaviour.statistics import Stratum, labelled_rate, wilson

COVERAGE, WIDTH, Z = 0.95, 0.11, 1.96
RATES = {"whole": ("full refusal",), "whole or partial": ("full refusal", "partial refusal")}
Array = np.ndarray
Bounds = tuple[float, float]


def answers(folder: Path) -> pd.DataFrame:
    """Model, side, what the scorer says, and what people say, of every answer."""
    files = sorted(folder.glob("answers_*.csv")) or [folder / "openings.csv"]
    frames = []
    for file in files:
        frame = pd.read_csv(file)
        text = frame["completion" if "completion" in frame else "opening"].astype(str)
        label = frame["final_label"].str[2:].str.replace("_", " ") if "final_label" in frame else frame["label"]
        model = frame["model"] if "model" in frame else file.stem.removeprefix("answers_")
        unsafe = frame["type"].str.startswith("contrast")
        side = np.where(unsafe, "unsafe", "safe")
        frames.append(
            pd.DataFrame({"model": model, "side": side, "says": text.str.strip().map(refuses), "label": label})
        )
    return pd.concat(frames, ignore_index=True)


def stratified(says: Array, truth: Array, n: int, rng: np.random.Generator) -> Bounds:
    """Ours: half of the labels on answers that the scorer passes, half on the others."""
    sides = [rng.permutation(np.flatnonzero(says == verdict)) for verdict in (True, False)]
    small = min(range(2), key=lambda side: len(sides[side]))
    few = min(n // 2, len(sides[small]))
    counts = [few if side == small else min(n - few, len(sides[side])) for side in range(2)]
    found = labelled_rate(
        [Stratum(len(side), count, int(truth[side[:count]].sum())) for side, count in zip(sides, counts, strict=True)]
    )
    return found.low, found.high


def alone(says: Array, truth: Array, n: int, rng: np.random.Generator) -> Bounds:
    """The scorer's own rate."""
    return wilson(float(says.sum()), len(says))


def people(says: Array, truth: Array, n: int, rng: np.random.Generator) -> Bounds:
    """Labels alone."""
    return wilson(float(truth[rng.permutation(len(truth))[:n]].sum()), n)


def ppi(says: Array, truth: Array, n: int, rng: np.random.Generator) -> Bounds:
    """The scorer's rate, minus its mean error on the labels (Angelopoulos et al. 2023)."""
    drawn = rng.permutation(len(truth))[:n]
    error = says[drawn].astype(float) - truth[drawn]
    value = says.mean() - error.mean()
    half = Z * math.sqrt(error.var() / n + says.var() / len(says))
    return float(value - half), float(value + half)


METHODS = {"firstfault": stratified, "scorer": alone, "people": people, "ppi": ppi}


def measured(frame: pd.DataFrame, n: int, draws: int) -> list[dict[str, object]]:
    """Coverage and mean width of each method on each suite."""
    found = []
    for (model, side), rows in frame.groupby(["model", "side"]):
        for rate, labels in RATES.items():
            says, truth = rows["says"].to_numpy(dtype=bool), rows["label"].isin(labels).to_numpy()
            row: dict[str, object] = {
                "model": model,
                "side": side,
                "rate": rate,
                "truth": round(float(truth.mean()), 3),
            }
            for name, method in METHODS.items():
                rng = np.random.default_rng(15)
                bounds = np.array([method(says, truth, n, rng) for _ in range(draws)])
                covered = (bounds[:, 0] <= truth.mean() + 1e-12) & (truth.mean() - 1e-12 <= bounds[:, 1])
                row[name] = (round(float(covered.mean()), 3), round(float(np.ptp(bounds, axis=1).mean()), 3))
            print(row, flush=True)
            found.append(row)
    return found


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(__file__).parents[1] / "tests" / "safety" / "xstest"
    )
    parser.add_argument("--labels", type=int, default=60, help="of people, for each rate")
    parser.add_argument("--draws", type=int, default=500, help="of labels, for each rate")
    asked = parser.parse_args()
    began = time.process_time()
    found = measured(answers(asked.folder), asked.labels, asked.draws)
    means = {name: [float(np.mean([row[name][k] for row in found])) for k in range(2)] for name in METHODS}  # type: ignore[index]
    ours = [row["firstfault"] for row in found]
    result = {
        "suites": len(found),
        "labels": asked.labels,
        "coverage": round(means["firstfault"][0], 3),
        "coverage_of_worst_suite": min(each[0] for each in ours),  # type: ignore[index]
        "width": round(means["firstfault"][1], 3),
        "width_of_widest_suite": max(each[1] for each in ours),  # type: ignore[index]
        "others": {name: [round(number, 3) for number in mean] for name, mean in means.items() if name != "firstfault"},
        "cpu_seconds": round(time.process_time() - began, 1),
    }
    result["met"] = {"coverage": means["firstfault"][0] >= COVERAGE, "width": means["firstfault"][1] <= WIDTH}
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
