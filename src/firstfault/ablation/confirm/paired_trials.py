"""Testing one swap: train the changed target beside the unchanged one, seed by seed, while it is worth it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from firstfault import progress
from firstfault.ablation.compare import SURE, Comparison, compare
from firstfault.ablation.confirm.budget import Budget
from firstfault.ablation.confirm.changed_settings import settings_changed
from firstfault.ablation.confirm.trials import Arm, Bench, Run, score_on
from firstfault.ablation.swap import SwapKind
from firstfault.errors import FirstfaultError, Missing, UserCodeError, told
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.metrics import metric_of
from firstfault.subject.replay import replayed
from firstfault.training.chance import floor, prior_score
from firstfault.training.recipe import Recipe
from firstfault.training.scores import least_effect, standard_error
from firstfault.verdict import Swap

logger = logging.getLogger(__name__)

MORE_SEEDS = 2
UNLIKE = 2.0
"""How many of the least effects a replay may lie from the `fit` that it repeats."""
PACE = frozenset({"learning_rate_too_low", "too_few_epochs", "batch_size_too_large", "wrong_optimizer"})
"""Faults of which a shortened training of a healthy target shows the symptoms too."""


@dataclass(frozen=True)
class Tested:
    """One swap that was tried for one fault. `open` says why the trial can't judge, if it can't.

    `blind` says why it would not have shown a repair: then it acquits the fault of nothing.
    """

    fault: str
    kind: SwapKind
    metric: str
    result: Comparison
    repaired: bool
    open: str = ""
    blind: str = ""
    sets: Mapping[str, Any] = field(default_factory=dict)

    def swap(self) -> Swap:
        """The numbers for the verdict."""
        result = self.result
        return Swap(self.kind.change, self.metric, result.before, result.after, result.seeds, result.p_value, self.sets)


class Tester:
    """Tries swaps on one subject under one budget; a swap is trained once, whatever faults it undoes."""

    def __init__(self, bench: Bench, layer: Layer, budget: Budget) -> None:
        self.bench, self.layer, self.budget = bench, layer, budget
        self.untested: dict[str, str] = {}
        self._known: dict[str, Tested] = {}
        self._unlike: str | None = None
        self._first_runs: dict[str, Run] = {}

    @property
    def known(self) -> list[Tested]:
        """All that was tried."""
        return list(self._known.values())

    def for_fault(self, entry: Tested, fault: str) -> Tested:
        """The same trial as evidence for another fault that its swap undoes."""
        return replace(entry, fault=fault)

    def attempt(self, fault: str, kind: SwapKind, *, patient: bool, aim: float | None = None) -> Tested | None:
        """Undo a fault by a swap and compare; None, with the reason in `untested`, where that can't be done.

        A patient trial gives up after two seeds without a gain, an impatient one after the first; with an `aim`, also
        after a first seed that stays below it by more than the noise.
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
        tested = self._judge(fault, kind, arm, patient, aim)
        if tested is None:
            self.untested.setdefault(fault, f"the budget of {self.budget} cut the training of the unchanged target")
            return None
        self._known[kind.name] = tested
        return tested

    def glance(self, kind: SwapKind) -> Comparison | None:
        """A swap compared on the first seed only; None where the budget is spent, or it can't be done."""
        if kind.name in self._known:
            return self._known[kind.name].result
        arm = self._arm(kind.name, kind) if self.budget.left > 0 else None
        if arm is None:
            return None
        seed, metric = self.bench.seeds[0], metric_of(arm.recipe.task, arm.recipe.training.metric)[0]
        unchanged = self.bench.unchanged(arm, seed, self.budget.deadline)
        run = self._first_runs[kind.name] = self.bench.run(arm, seed, self.budget.deadline)
        if unchanged.cut or run.cut or run.crashed:
            return None
        return compare(
            [self.bench.before(arm, seed, unchanged)], [floor(arm.recipe, run.score)], metric, self._rows(arm)
        )

    def _arm(self, fault: str, kind: SwapKind) -> Arm | None:
        try:
            recipe = kind.apply(self.bench.subject)
            return Arm(fault, kind.change, recipe, kind.same_validation, self._base(kind, recipe))
        except (Missing, UserCodeError, FirstfaultError) as reason:
            if not self._unlike or self.untested.get(fault) != self._unlike:
                self.untested[fault] = self.bench.subject.masked(str(reason))
        except BaseException as error:
            pass_on(error)
            logger.warning("the swap %s could not be applied: %s", kind.name, self.bench.subject.masked(told(error)))
            self.untested[fault] = f"{kind.change} could not be applied ({type(error).__name__})"
        return None

    def _base(self, kind: SwapKind, recipe: Recipe) -> Recipe | None:
        """What a changed recipe is compared with: the target itself (None), or the replay of its `fit`, which must come out like it."""
        if self.bench.recipe.training.fit is None or recipe.training.fit is not None or kind.replaces_loop:
            return None
        base = replayed(self.bench.subject)
        if self._unlike is None:
            self._unlike = self._difference(base)
        if self._unlike:
            raise Missing(self._unlike)
        return base

    def _difference(self, base: Recipe) -> str:
        """In which way the replay comes out otherwise than the user's `fit`; empty where it does not."""
        seed, metric = self.bench.seeds[0], metric_of(base.task, base.training.metric)[0]
        fit = self.bench.baseline(seed, self.budget.deadline)
        again = self.bench.unchanged(Arm("replay", "replayed", base, base=base), seed, self.budget.deadline)
        if fit.cut or again.cut:
            return f"the budget of {self.budget} was too short to replay the user's fit"
        theirs, ours = floor(base, score_on(fit.model, base, base.validation)), floor(base, again.score)
        error = SURE * standard_error(metric, [theirs, ours], len(base.validation))
        if abs(theirs - ours) <= max(UNLIKE * least_effect(metric, [theirs]), error):
            return ""
        return f"the replay of the user's fit reaches {metric} {ours:.3f}, and the fit {theirs:.3f}: it does something that was not captured"

    def _judge(self, fault: str, kind: SwapKind, arm: Arm, patient: bool, aim: float | None) -> Tested | None:
        name, _ = metric_of(arm.recipe.task, arm.recipe.training.metric)
        before, runs, cut = self._pairs(arm, kind, name, patient, aim)
        if not runs:
            return None
        after = [floor(arm.recipe, run.score) for run in runs]
        result = compare(before, after, name, self._rows(arm))
        sound = all(math.isfinite(run.score) for run in runs)
        doubt = self._doubt(kind, cut, result, name)
        guesses = not kind.from_guessing or self._guesses(result)
        learns = not kind.from_guessing or self._learns(arm, result)
        repaired = result.better and sound and guesses and learns and not doubt
        blind = "" if repaired else _blind(runs, result, guesses, learns)
        sets = settings_changed(arm.base or self.bench.recipe, arm.recipe)
        return Tested(fault, kind, name, result, repaired, doubt, blind, sets)

    def _guesses(self, result: Comparison) -> bool:
        """Whether the unchanged target only guesses."""
        return result.before <= prior_score(self.bench.recipe, self.bench.recipe.validation) + result.noise

    def _learns(self, arm: Arm, result: Comparison) -> bool:
        """Whether the changed target is nearer to a perfect score than to guessing."""
        return result.after >= (1 + prior_score(arm.recipe, arm.recipe.validation)) / 2

    def _pairs(
        self, arm: Arm, kind: SwapKind, metric: str, patient: bool, aim: float | None
    ) -> tuple[list[float], list[Run], bool]:
        """Scores of the unchanged target, runs of the changed one, and whether the deadline cut one of them."""
        before: list[float] = []
        runs: list[Run] = []
        for seed in range(self.bench.seeds[0], self.bench.seeds[0] + len(self.bench.seeds) + MORE_SEEDS):
            unchanged = self.bench.unchanged(arm, seed, self.budget.deadline)
            if unchanged.cut:
                return before, runs, True
            before.append(self.bench.before(arm, seed, unchanged))
            glanced = self._first_runs.pop(kind.name, None) if not runs else None
            runs.append(glanced or self.bench.run(arm, seed, self.budget.deadline))
            result = compare(before, [floor(arm.recipe, run.score) for run in runs], metric, self._rows(arm))
            if runs[-1].cut or runs[-1].crashed or self._decided(result, metric, patient, aim):
                break
        return before, runs, runs[-1].cut

    def _rows(self, arm: Arm) -> int:
        return len((arm.recipe if arm.same_validation else self.bench.recipe).validation)

    def _decided(self, result: Comparison, metric: str, patient: bool, aim: float | None) -> bool:
        if result.seeds < len(self.bench.seeds):
            hopeless = result.gain <= least_effect(metric, [result.before]) or (
                aim is not None and result.after < aim - result.noise
            )
            return hopeless and result.seeds >= (2 if patient else 1)
        unsure = result.gain > result.noise and not result.better
        return not unsure or self.budget.left <= 0

    def _doubt(self, kind: SwapKind, cut: bool, result: Comparison, metric: str) -> str:
        gain = result.gain > least_effect(metric, [result.before])
        if cut and (not gain or result.seeds < len(self.bench.seeds)):
            return f"the budget of {self.budget} cut the trial"
        if not gain or self.bench.scale.full or kind.same_validation or kind.from_guessing:
            return ""
        full = self.bench.full_score()
        if full is None or result.after <= full + least_effect(metric, [full]):
            return f"at {self.bench.scale} a healthy target would gain too"
        return ""


def _blind(runs: Sequence[Run], result: Comparison, guesses: bool, learns: bool) -> str:
    """Why a change that repaired nothing would not have shown a repair; empty where it would."""
    if any(run.crashed for run in runs):
        return "the changed training crashed"
    if guesses and not learns:
        return f"labels that are known to be learnable are not learnt either ({result.after:.3f}): too little training, or a fault of it or the model"
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
        entry
        for entry in repaired
        if entry.fault in proven or (entry in equal and weights.get(entry.fault, 0.0) >= most - 1e-9)
    ]


def _equal(entry: Tested, best: Tested) -> bool:
    return entry.result.gain >= best.result.gain - max(entry.result.spread, best.result.spread)
