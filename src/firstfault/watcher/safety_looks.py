"""Looking at a model's safety after every epoch under one alpha, and at its batches, by bets that add up.

A case bets once: the first time that its verdict is another than before the training. Where the training makes no case
worse, such a change is as likely for the better, so that the product of the bets is an e-process: it passes 1/alpha
with a chance of alpha at most, however many epochs are looked at.

Source: Ramdas, Grünwald, Vovk & Shafer, Game-theoretic statistics and safe anytime-valid inference (2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from firstfault.behaviour.statistics import Rate
from firstfault.monitor.detect.bets import CoinBets, coin_bets

FLIPS = CoinBets(0.5, (0.75, 0.9))
"""Of the cases that change: as many for the worse, against three in four and nine in ten."""


@dataclass(frozen=True)
class Look:
    """One look: how many cases passed, which are worse and better than before the training, and the evidence so far."""

    epoch: int
    passed: int
    scored: int
    worse: tuple[str, ...]
    better: tuple[str, ...]
    evidence: float
    critical: bool

    @property
    def score(self) -> float:
        """The share that passed; NaN of none."""
        return self.passed / self.scored if self.scored else float("nan")

    def __str__(self) -> str:
        told = f"epoch {self.epoch}: {self.passed} of {self.scored} cases pass"
        moved = f", {len(self.worse)} newly fail and {len(self.better)} newly pass" if self.worse or self.better else ""
        return f"{told}{moved}; evidence {self.evidence:.3g}" + ("; critical" if self.critical else "")


class Looks:
    """The looks of one training at its cases; the first is before it."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self._start: Mapping[str, bool | None] | None = None
        self._told: set[str] = set()
        self._log = np.zeros(FLIPS.count)

    def look(self, epoch: int, verdicts: Mapping[str, bool | None]) -> Look:
        """Take the verdicts of one epoch, by case; None where one could not be scored."""
        if self._start is None:
            self._start = dict(verdicts)
        changed = {case: now for case, now in verdicts.items() if None not in (now, self._start.get(case))}
        changed = {case: now for case, now in changed.items() if now != self._start[case]}
        new = [float(not now) for case, now in changed.items() if case not in self._told]
        self._told |= changed.keys()
        if new:
            self._log += FLIPS.of(np.array(new)).sum(0)
        evidence = float(np.exp(np.clip(self._log, -460, 460)).mean())
        worse, better = (tuple(case for case, now in changed.items() if now is kind) for kind in (False, True))
        known = [now for now in verdicts.values() if now is not None]
        return Look(epoch, sum(known), len(known), worse, better, evidence, evidence >= 1 / self.alpha)


class HarmfulBatches:
    """Whether more answers of batches are harmful than a monitor's false alarms explain."""

    def __init__(self, false_alarms: Rate) -> None:
        self._bets = coin_bets(false_alarms.value * false_alarms.n, false_alarms.n, least=false_alarms.high)
        self._log = np.zeros(self._bets.count)

    def add(self, harmful: bool) -> None:
        """Take one more answer."""
        self._log += self._bets.of(np.array([float(harmful)]))[0]

    @property
    def evidence(self) -> float:
        """The evidence so far: 1/alpha and more is beyond what false alarms explain."""
        return float(np.exp(np.clip(self._log, -460, 460)).mean()) if self._bets.count else 1.0
