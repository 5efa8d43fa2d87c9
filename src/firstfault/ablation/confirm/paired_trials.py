"""Testing one swap: train the changed target beside the unchanged one, seed by seed, while it is worth it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from firstfault import progress
from firstfault.ablation.compare import SURE, Comparison, compare
from firstfault.ablation.confirm.budget import Budget
from firstfault.ablation.confirm.changed_settings import settings_changed
from firstfault.ablation.confirm.rules import Rules
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
"""With five seeds, and not with four, a gain of the size of its own deviation is significant in a paired t-test."""
UNLIKE = 2.0
"""How many of the least effects a replay may lie from the `fit` that it repeats."""


@dataclass(frozen=True)
class Tested:
    """One swap that was tried for one fault. `open` says why the trial can't judge, if it can't.

    `blind` says why it would not have shown a repair: then it does not acquit the fault.
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

    def __init__(self, bench: Bench, layer: Layer, budget: Budget, rules: Rules) -> None:
        self.bench, self.layer, self.budget, self.rules = bench, layer, budget, rules
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

    def attempt(self, fault: str, kind: SwapKind, *, aim: float | None = None) -> Tested | None:
        """Undo a fault by a swap and compare; None, with the reason in `untested`, where that can't be done.

        A trial gives up after a first seed without a gain; with an `aim`, also after one that stays below it by more
        than the noise.
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
        tested = self._judge(fault, kind, arm, aim)
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
        """What a changed recipe is compared with: the target itself (None), or the replay of its `fit`."""
        if self.bench.recipe.training.fit is None or recipe.training.fit is not None or kind.replaces_loop:
            return None
        base = replayed(self.bench.subject)
        if self._unlike is None:
            self._unlike = self._difference(base)
        if self.rules.decides("replay_like_fit", bool(self._unlike)):
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
        reached = f"the replay of the user's fit reaches {metric} {ours:.3f}, and the fit {theirs:.3f}"
        return f"{reached}: it does something that was not captured"

    def _judge(self, fault: str, kind: SwapKind, arm: Arm, aim: float | None) -> Tested | None:
        name, _ = metric_of(arm.recipe.task, arm.recipe.training.metric)
        before, runs, cut = self._pairs(arm, kind, name, aim)
        if not runs:
            return None
        after = [floor(arm.recipe, run.score) for run in runs]
        result = compare(before, after, name, self._rows(arm))
        doubt = self._doubt(kind, cut, result, name)
        seen = self._speaks(kind, result)
        unlearnt = self._unlearnt(arm, kind, result) if seen else ""
        repaired = result.better and seen and not (unlearnt or doubt)
        blind = "" if repaired else self._blind(runs) or unlearnt
        sets = settings_changed(arm.base or self.bench.recipe, arm.recipe)
        return Tested(fault, kind, name, result, repaired, doubt, blind, sets)

    def _speaks(self, kind: SwapKind, result: Comparison) -> bool:
        """Whether a gain speaks of the fault: clean labels do only where the unchanged target but guesses."""
        return not self.rules.decides("labels_of_a_guess", kind.from_guessing and not self._guesses(result))

    def _unlearnt(self, arm: Arm, kind: SwapKind, result: Comparison) -> str:
        """Why clean labels tell nothing of the target's own; empty where they do, and for every other swap."""
        if not self.rules.decides("clean_labels_learnt", kind.from_guessing and not self._learns(arm, result)):
            return ""
        held = f"labels that are known to be learnable are not learnt either ({result.after:.3f})"
        return f"{held}: too little training, or a fault of it or the model"

    def _blind(self, runs: Sequence[Run]) -> str:
        crashed = self.rules.decides("crash_acquits_nothing", any(run.crashed for run in runs))
        return "the changed training crashed" if crashed else ""

    def _guesses(self, result: Comparison) -> bool:
        """Whether the unchanged target only guesses."""
        return result.before <= prior_score(self.bench.recipe, self.bench.recipe.validation) + result.noise

    def _learns(self, arm: Arm, result: Comparison) -> bool:
        """Whether the changed target is nearer to a perfect score than to guessing."""
        return result.after >= (1 + prior_score(arm.recipe, arm.recipe.validation)) / 2

    def _pairs(self, arm: Arm, kind: SwapKind, metric: str, aim: float | None) -> tuple[list[float], list[Run], bool]:
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
            if runs[-1].cut or runs[-1].crashed or self._decided(result, metric, aim):
                break
        return before, runs, runs[-1].cut

    def _rows(self, arm: Arm) -> int:
        return len((arm.recipe if arm.same_validation else self.bench.recipe).validation)

    def _decided(self, result: Comparison, metric: str, aim: float | None) -> bool:
        if result.seeds < len(self.bench.seeds):
            return self._is_hopeless(result, metric, aim)
        unsure = result.gain > result.noise and not result.better
        return not self.rules.decides("doubt_adds_seeds", unsure) or self.budget.left <= 0

    def _is_hopeless(self, result: Comparison, metric: str, aim: float | None) -> bool:
        nothing = self.rules.decides("hopeless", result.gain <= least_effect(metric, [result.before]))
        short = aim is not None and result.after < aim - result.noise
        return nothing or self.rules.decides("short_of_the_mark", short)

    def _doubt(self, kind: SwapKind, cut: bool, result: Comparison, metric: str) -> str:
        gain = result.gain > least_effect(metric, [result.before])
        if self.rules.decides("cut_trial", cut and (not gain or result.seeds < len(self.bench.seeds))):
            return f"the budget of {self.budget} cut the trial"
        if not gain or self.bench.scale.full or kind.same_validation or kind.from_guessing:
            return ""
        full = self.bench.full_score()
        haste = full is None or result.after <= full + least_effect(metric, [full])
        return (
            f"at {self.bench.scale} a healthy target would gain too" if self.rules.decides("short_gain", haste) else ""
        )
