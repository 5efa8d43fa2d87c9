"""Harm: is there an alarm when a model's accuracy falls, and none when it does not?

    python benchmarks/harm.py [--each 6] [--seeds 2] [--cache DIR]

DriftHarm's protocol on offline streams: a real model is trained on a data set's first rows; the next 2,000 say what is
usual; then an episode of 1,000 rows is served. Some are the stream as it really went on, in some nothing happens, or a
column drifts at which the model does not look, or other customers come, or a column breaks, or the truth changes.
Harmful is an episode in which the model loses HARM of its accuracy or more. MCC is Matthews' correlation of alarm and
harm: ours once with each row's label, and once without any; beside it what five tests of drift say whose bounds are set
so that 5 % of healthy windows alarm. Evidently and NannyML need environments of their own, and are not run.

A quarter of the episodes with other customers alarm, and none of these is harmful: they are chosen by a column that
hardly hangs together with any other, in two data sets that a program drew. A normal column of which the larger values
are chosen is distributed as one that is read as larger, so that nobody can tell them apart before labels come.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from monitoring.drift_tests import TESTS
from monitoring.harm_streams import ROWS, SOURCES, Episode, World, fetched

from firstfault.monitor.detect.detector import Detector
from firstfault.monitor.record import Arm, Cuts, Outcome, Record, Stages

HARM = 0.03
FALSE_ALARMS, WINDOWS = 0.05, 20
MARKS = {"with_labels": 0.6, "without_labels": 0.4, "ignored": 0.05}
CACHE = Path.home() / ".cache" / "firstfault" / "benchmarks"


def records_of(world: World, rows: pd.DataFrame, chances: Any, truth: Any, start: int) -> list[Record]:
    """Rows as they are recorded when they are served, one a second."""
    found, inputs = [], rows.to_dict("records")
    for at, (row, chance, label) in enumerate(zip(inputs, chances.tolist(), truth.tolist(), strict=True)):
        answer = world.classes[int(np.argmax(chance))]
        answer = answer.item() if hasattr(answer, "item") else answer
        plain = {name: None if value != value else value for name, value in row.items()}
        found.append(
            Record(
                f"r-{start + at}", "", "", float(start + at), "function", world.source.name, "1", Arm.CHAMPION, 200,
                Outcome.OK, Stages(0.01), Cuts(), f"h/w:{start + at}",
                values={"raw": plain, "logits": chance, "label": answer}, confidence=max(chance), label=label,
                reasons=("sample",), weight=1.0,
            )
        )  # fmt: skip
    return found


def without_labels(records: list[Record]) -> list[Record]:
    """The same before any label came."""
    import msgspec

    return [msgspec.structs.replace(record, label=None) for record in records]


class Ours:
    """Detection after the baseline, from which each episode goes on by itself."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.learned = Detector(baseline=records_of(world, *world.baseline(), 0))

    def alarms(self, episode: Episode) -> dict[str, Any]:
        """What opened: with labels, and without."""
        records = records_of(self.world, episode.rows, episode.chances, episode.truth, 10_000)
        found = {}
        for name, fed in (("with_labels", records), ("without_labels", without_labels(records))):
            opened = copy.deepcopy(self.learned).feed(fed)
            found[name] = opened[0].monitor if opened else ""
        return found


class Others:
    """Tests of drift, with the bounds that let 5 % of healthy windows alarm."""

    def __init__(self, world: World) -> None:
        self.usual, _, _ = world.baseline()
        windows = [world.healthy(ROWS)[0] for _ in range(WINDOWS)]
        self.bounds = {
            name: float(np.quantile([test(self.usual, window) for window in windows], 1 - FALSE_ALARMS))
            for name, test in TESTS.items()
        }

    def alarms(self, episode: Episode) -> dict[str, bool]:
        """Which of them alarm."""
        return {name: test(self.usual, episode.rows) > self.bounds[name] for name, test in TESTS.items()}


def mcc(pairs: list[tuple[bool, bool]]) -> float:
    """Matthews' correlation of (alarm, harm)."""
    alarm, harm = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    return float(np.corrcoef(alarm, harm)[0, 1]) if alarm.std() > 0 and harm.std() > 0 else 0.0


def share(values: list[bool]) -> float:
    """How many are true."""
    return round(float(np.mean(values)), 3) if values else 0.0


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=6, help="episodes of each kind, data set and seed")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="", help="data sets, separated by commas")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the data sets lie")
    parser.add_argument("--no-others", action="store_true", help="leave the tests of drift out")
    asked = parser.parse_args()
    folder, began = fetched(asked.cache), time.process_time()
    pairs: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    kinds: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for source in SOURCES:
        for seed in range(asked.seeds if not asked.only or source.name in asked.only.split(",") else 0):
            world = World(source, folder, seed)
            ours = Ours(world)
            others = None if asked.no_others else Others(world)
            print(f"{source.name}, seed {seed}: accuracy {world.accuracy:.3f}; {ours.learned.told()}", flush=True)
            for episode in world.episodes(asked.each):
                harm = episode.harm >= HARM
                said: dict[str, Any] = ours.alarms(episode)
                print(f"  {episode.kind:<8} loses {episode.harm:+.3f}: {said}", flush=True)
                said.update(others.alarms(episode) if others else {})
                for name, alarm in said.items():
                    pairs[name].append((bool(alarm), harm))
                    kinds[episode.kind][name].append(bool(alarm))
                kinds[episode.kind]["harm"].append(harm)
    for kind, by in kinds.items():
        print(f"{kind:<8} " + "  ".join(f"{name} {share(values):.2f}" for name, values in by.items()))
    scores = {name: round(mcc(each), 3) for name, each in pairs.items()}
    ignored = max(share(kinds["ignored"][name]) for name in ("with_labels", "without_labels"))
    result = {
        "episodes": len(pairs["with_labels"]),
        "harmful": share([harm for _, harm in pairs["with_labels"]]),
        "mcc": scores,
        "ignored": {name: share(values) for name, values in kinds["ignored"].items() if name != "harm"},
        "marks": MARKS,
        "not_run": ["evidently", "nannyml"],
        "cpu_seconds": round(time.process_time() - began, 1),
        "met": {
            **{name: scores[name] >= MARKS[name] for name in ("with_labels", "without_labels")},
            "ignored": ignored <= MARKS["ignored"],
        },
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
