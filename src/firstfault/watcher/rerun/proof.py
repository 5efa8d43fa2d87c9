"""When suspicions are tested by running the script again: the cost, who is asked, and what is said otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from firstfault import progress
from firstfault.errors import Missing
from firstfault.finding import LayerReport
from firstfault.probe.interventions.catalogue import interventions_for, why_none
from firstfault.probe.record import Record
from firstfault.standing import suspected
from firstfault.verdict import Outcome
from firstfault.watcher.rerun.arm import Script
from firstfault.watcher.rerun.owner import Stand
from firstfault.watcher.rerun.trials import SEEDS, Trials

MOST_SECONDS = 900.0
"""Seconds of the processor for all runs of one verdict; where they don't suffice, all arms are cut alike."""
LONGER = 1.5
"""How much longer than the watched run an arm may take."""
LEAST_SECONDS = 10.0
"""CPU seconds for an arm at least, and on top of any: to start takes some of them."""
ON_THE_CLOCK = 4.0
"""How much longer an arm may take on the clock than on the processor: the machine may be busy."""
A_BLOCK = "a with-block can't be run again; `firstfault run` tests suspicions by running the script again"


class Consent(StrEnum):
    """Whether a script may be run again: it is asked for, given, or not."""

    ASK = "ask"
    YES = "yes"
    NO = "no"


@dataclass(frozen=True)
class Cost:
    """What testing would take."""

    suspicions: int
    runs: int
    seconds: float

    def __str__(self) -> str:
        noun = "suspicion" if self.suspicions == 1 else "suspicions"
        return f"{self.suspicions} {noun}, up to {self.runs} × {max(1, round(self.seconds))} s"


@dataclass
class Rerun:
    """Tests what a report suspects on the script itself; `ask` is told of the cost, and answers once for a verdict."""

    script: Script
    consent: Consent = Consent.NO
    ask: Callable[[Cost], bool] | None = None
    _asked: bool | None = field(default=None, repr=False)
    _stand: Stand | None = field(default=None, repr=False)
    _trials: Trials | None = field(default=None, repr=False)

    def __enter__(self) -> Rerun:
        return self

    def __exit__(self, *error: object) -> None:
        if self._stand is not None:
            self._stand.__exit__(*error)
        self._stand = self._trials = None

    def outcomes(self, record: Record, report: LayerReport, suspects: Sequence[str], crash: str = "") -> list[Outcome]:
        """The outcomes of some of the suspicions of a report on a watched run, which `crash` ended, if anything."""
        weights = {fault: weight for fault, weight in suspected(report).items() if fault in suspects}
        testable = [fault for fault in weights if interventions_for(fault)]
        why_not = self._why_not(record)
        if not testable or why_not:
            return [Outcome(fault, None, reason=why_not or why_none(fault)) for fault in weights]
        if not self._may(self._cost(testable)):
            return [_would(fault, record) for fault in weights]
        try:
            trials = self._begin(record, crash, len(testable))
        except Missing as reason:
            return [Outcome(fault, None, reason=str(reason)) for fault in weights]

        def told(what: str) -> None:
            progress.emit(progress.Step(report.layer, f"{what}, in the script run again", 0.0))

        trials.told = told
        return trials.outcomes(weights)

    def _why_not(self, record: Record) -> str:
        """Why the script can't be run again at all; empty where it can."""
        if not record.steps:
            return "no optimizer made a step, so that there is nothing to run again"
        if int(self.script.environment.get("WORLD_SIZE") or 1) > 1:
            return "a script of several processes is not run again"
        return "" if hasattr(os, "fork") else "this system has no fork, by which a script is run again"

    def _may(self, cost: Cost) -> bool:
        if self.consent is not Consent.ASK or self.ask is None:
            return self.consent is Consent.YES
        if self._asked is None:
            self._asked = self.ask(cost)
        return self._asked

    def _cost(self, testable: Sequence[str]) -> Cost:
        kinds = {kind.name for fault in testable for kind in interventions_for(fault)}
        # most interventions are given up after one seed, or never get there
        runs = SEEDS + min(len(kinds) + (SEEDS - 1) * len(testable), SEEDS * len(kinds))
        return Cost(len(testable), runs, self.script.wall)

    def _begin(self, record: Record, crash: str, suspicions: int) -> Trials:
        if self._trials is None:
            runs = SEEDS * (1 + suspicions)
            seconds = max(LEAST_SECONDS, min(LONGER * self.script.seconds + LEAST_SECONDS, MOST_SECONDS / runs))
            self._stand = Stand(self.script)
            wall = ON_THE_CLOCK * max(seconds, self.script.wall)
            self._trials = Trials(self._stand, record, crash, seconds, wall, lambda what: None)
        return self._trials


def _would(fault: str, record: Record) -> Outcome:
    """What would be tested, and how."""
    known = interventions_for(fault)
    if not known:
        return Outcome(fault, None, reason=why_none(fault))
    change = known[0].announced(record)
    return Outcome(fault, None, reason=f"would be tested by running the script again with {change}: --rerun yes")


def in_a_block(suspects: Sequence[str]) -> list[Outcome]:
    """What is said of the suspicions of a `with` block."""
    return [Outcome(fault, None, reason=A_BLOCK) for fault in suspects]
