"""Trainings that are made once for all ways of going on with one diagnosis."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from firstfault.ablation.confirm.trials import Arm, Bench, Run, Scale


class Memory:
    """The changed trainings by change, seed and scale: none is made again, but their seconds count."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, int, Scale], Run] = {}
        self.saved = 0.0

    def install(self) -> None:
        """From now on, every bench of this process asks here."""
        train = Bench.run

        def run(bench: Bench, arm: Arm, seed: int, deadline: float | None = None) -> Run:
            key = (arm.change, seed, bench.scale)
            if known := self.made.get(key):
                self.saved += known.seconds
                return known
            started = time.process_time()
            made = train(bench, arm, seed, deadline)
            made = replace(made, model=None, seconds=time.process_time() - started)
            return made if made.cut else self.made.setdefault(key, made)

        Bench.run = run  # type: ignore[method-assign]

    def told(self) -> list[Any]:
        """What a parent needs to know of it, as JSON values."""
        return [
            [change, seed, scale.rows, scale.epochs, [run.score, run.seconds, run.crashed, run.done]]
            for (change, seed, scale), run in self.made.items()
        ]
