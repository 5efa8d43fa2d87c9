"""Testing one swap: train the changed target beside the unchanged one, seed by seed, while it is worth it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from firstfault import progress
from firstfault.ablation.budget import Budget
from firstfault.ablation.compare import Comparison, compare, least_effect
from firstfault.ablation.swap import SwapKind
from firstfault.ablation.trial import Arm, Bench, Run
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.finding import Layer
from firstfault.metrics import metric_of
from firstfault.prior import floor
from firstfault.verdict import Swap

logger = logging.getLogger(__name__)

MORE_SEEDS = 2
PACE = frozenset({"learning_rate_too_low", "too_few_epochs", "batch_size_too_large", "wrong_optimizer"})
"""Faults of which a shortened training of a healthy target shows the symptoms too."""


@dataclass(frozen=True)
class Tested:
    """One swap that was tried for one fault. `open` says why the trial can't judge, if it can't."""

    fault: str
    kind: SwapKind
    metric: str
    result: Comparison
    repaired: bool
    open: str = ""

    def swap(self) -> Swap:
        """The numbers for the verdict."""
        result = self.result
        return Swap(self.kind.change, self.metric, result.before, result.after, result.seeds, result.p_value)


class Tester:
    """Tries swaps on one subject under one budget; a swap is trained once, whatever faults it undoes."""

    def __init__(self, bench: Bench, layer: Layer, budget: Budget) -> None:
        self.bench, self.layer, self.budget = bench, layer, budget
        self.untested: dict[str, str] = {}
        self._known: dict[str, Tested] = {}

    def attempt(self, fault: str, kind: SwapKind, *, patient: bool) -> Tested | None:
        """Undo a fault by a swap and compare; None, with the reason in `untested`, where that can't be done.

        A patient trial gives up after two seeds without a gain, an impatient one after the first.
        """
        if kind.name in self._known:
            return replace(self._known[kind.name], fault=fault)
        if self.budget.left <= 0:
            self.untested.setdefault(fault, f"the budget of {self.budget} was spent")
            return None
        arm = self._arm(fault, kind)
        if arm is None:
            return None
        progress.emit(progress.Step(self.layer, f"undo {fault}: {kind.change}", self.budget.spent))
        self._known[kind.name] = tested = self._judge(fault, kind, arm, patient)
        return tested

    def _arm(self, fault: str, kind: SwapKind) -> Arm | None:
        try:
            return Arm(fault, kind.change, kind.apply(self.bench.subject), kind.same_validation)
        except (Missing, UserCodeError, FirstfaultError) as reason:
            self.untested[fault] = self.bench.subject.masked(str(reason))
        except Exception as error:
            logger.warning("the swap %s could not be applied: %s: %s", kind.name, type(error).__name__, self.bench.subject.masked(str(error)))
            self.untested[fault] = f"{kind.change} could not be applied ({type(error).__name__})"
        return None

    def _judge(self, fault: str, kind: SwapKind, arm: Arm, patient: bool) -> Tested:
        name, _ = metric_of(arm.recipe.task, arm.recipe.training.metric)
        before, runs = self._pairs(arm, name, patient)
        after = [floor(arm.recipe, run.score) for run in runs]
        result = compare(before, after, name, self._rows(arm))
        sound = all(math.isfinite(run.score) for run in runs)
        doubt = self._doubt(fault, runs, result, name)
        return Tested(fault, kind, name, result, result.better and sound and not doubt, doubt)

    def _pairs(self, arm: Arm, metric: str, patient: bool) -> tuple[list[float], list[Run]]:
        before: list[float] = []
        runs: list[Run] = []
        first = self.bench.seeds[0]
        for number in range(len(self.bench.seeds) + MORE_SEEDS):
            before.append(self.bench.before(arm, first + number))
            runs.append(self.bench.run(arm, first + number, self.budget.deadline))
            result = compare(before, [floor(arm.recipe, run.score) for run in runs], metric, self._rows(arm))
            if self._decided(result, metric, patient) or runs[-1].cut or runs[-1].crashed:
                break
        return before, runs

    def _rows(self, arm: Arm) -> int:
        return len((arm.recipe if arm.same_validation else self.bench.recipe).validation)

    def _decided(self, result: Comparison, metric: str, patient: bool) -> bool:
        if result.seeds < len(self.bench.seeds):
            hopeless = result.gain <= least_effect(metric, [result.before])
            return hopeless and result.seeds >= (2 if patient else 1)
        unsure = result.gain > result.noise and not result.better
        return not unsure or self.budget.left <= 0

    def _doubt(self, fault: str, runs: Sequence[Run], result: Comparison, metric: str) -> str:
        gain = result.gain > least_effect(metric, [result.before])
        if runs[-1].cut and (not gain or len(runs) < len(self.bench.seeds)):
            return f"the budget of {self.budget} cut the trial"
        if not gain or self.bench.scale.full or fault not in PACE:
            return ""
        full = self.bench.full_score()
        if full is None or result.after <= full + least_effect(metric, [full]):
            return f"at {self.bench.scale} a healthy target would gain too"
        return ""


def leaders(tested: Sequence[Tested], weights: Mapping[str, float], proven: frozenset[str]) -> list[Tested]:
    """The repairs that stand: those that help as much as the best one, of the most suspected fault.

    A fault that structure proves stands with any clear gain. Of equals that are suspected equally,
    all stand.
    """
    repaired = [entry for entry in tested if entry.repaired]
    if not repaired:
        return []
    best = max(repaired, key=lambda entry: entry.result.gain)
    equal = [entry for entry in repaired if _equal(entry, best)]
    most = max(weights.get(entry.fault, 0.0) for entry in equal)
    return [
        entry for entry in repaired
        if entry.fault in proven or (entry in equal and weights.get(entry.fault, 0.0) >= most - 1e-9)
    ]


def _equal(entry: Tested, best: Tested) -> bool:
    return entry.result.gain >= best.result.gain - max(entry.result.spread, best.result.spread)


