"""Testing suspicions: undo each suspected fault, retrain over paired seeds, and see what recovers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from firstfault import progress
from firstfault.ablation.compare import Comparison, compare
from firstfault.ablation.swap import SwapKind, swaps, swaps_for
from firstfault.ablation.trial import SMALLEST_SHARE, Bench, OnTrial
from firstfault.check import Depth
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.faults import SYMPTOMS, layer_of
from firstfault.finding import Layer, LayerReport
from firstfault.metrics import metric_of
from firstfault.recipe import Recipe
from firstfault.verdict import PROOF, Outcome, Swap, suspected

LEAST_SECONDS = 20.0
HOPEFUL = 0.7
TRAININGS = {Depth.QUICK: 1.0, Depth.STANDARD: 3.0, Depth.DEEP: 20.0}


@dataclass(frozen=True)
class Tested:
    """One swap that was tried for one fault."""

    fault: str
    kind: SwapKind
    metric: str
    result: Comparison
    seeds: int

    def swap(self) -> Swap:
        """The numbers for the verdict."""
        return Swap(
            self.kind.change, self.metric, self.result.before, self.result.after, self.seeds, self.result.p_value
        )


def confirm(
    subject: Any,
    report: LayerReport,
    *,
    budget_seconds: float | None = None,
    seeds: int = 3,
    on_trial: OnTrial | None = None,
) -> list[Outcome]:
    """Undo each fault that a layer's failed findings point to, and compare with the unchanged target.

    Both arms are trained over the same seeds; a fault is confirmed when undoing it improves the
    metric by more than the noise, and as much as the best of the other repairs. When nothing is
    confirmed and no structure proves a fault, the other swaps are searched too.

    Args:
        subject: the target under examination.
        report: the layer whose failed findings name the suspects.
        budget_seconds: for all trainings; at standard depth 3 trainings of the target, at least 20 s.
        seeds: paired seeds per comparison.
        on_trial: called after every training.
    """
    weights = suspected(report)
    served = [fault for fault in weights if layer_of(fault, report.layer) is Layer.DEPLOYMENT]
    outcomes = [_served(subject, fault) for fault in served]
    suspects = {fault: weight for fault, weight in weights.items() if fault not in served}
    if not suspects or "user_code_raises" in suspects:
        return outcomes + [Outcome(fault, None, reason="code that raises has no swap") for fault in suspects]
    try:
        recipe: Recipe = subject.recipe
    except (Missing, UserCodeError, FirstfaultError) as reason:
        return outcomes + [Outcome(fault, None, reason=f"not tested: {reason}") for fault in suspects]
    return outcomes + _Search(subject, recipe, suspects, budget_seconds, seeds, on_trial, report.layer).outcomes()


def _served(subject: Any, fault: str) -> Outcome:
    from firstfault.ablation.serving import confirm_serving

    outcome = confirm_serving(subject, fault)
    return outcome or Outcome(fault, None, reason="no swap undoes it")


class _Search:
    """The trials of one confirmation, under one budget."""

    def __init__(
        self, subject: Any, recipe: Recipe, suspects: dict[str, float], budget: float | None, seeds: int,
        on_trial: OnTrial | None, layer: Layer,
    ) -> None:
        self.subject, self.recipe, self.suspects, self.layer = subject, recipe, suspects, layer
        self.seeds = seeds
        self.known: dict[str, Tested] = {}
        self.started = time.monotonic()
        self.bench = Bench(recipe, seeds, on_trial)
        self.bench.baseline(seeds=1)
        once = time.monotonic() - self.started
        self.budget = budget if budget is not None else max(LEAST_SECONDS, TRAININGS[subject.depth] * once)
        needed = 2 * seeds * once
        if needed > self.budget:
            share = max(SMALLEST_SHARE, self.budget / needed)
            self.bench = Bench(recipe, seeds, on_trial, share)

    def outcomes(self) -> list[Outcome]:
        tested = list(self._test(self.suspects))
        proven = any(weight >= PROOF for weight in self.suspects.values())
        confirmed = _confirmed(tested)
        if not confirmed and not proven:
            tested += list(self._search({entry.kind.name for entry in tested}))
            confirmed = _confirmed(tested)
        return [self._outcome(fault, tested, confirmed) for fault in self._named(confirmed)]

    def _named(self, confirmed: list[Tested]) -> list[str]:
        return list(dict.fromkeys([*self.suspects, *(entry.fault for entry in confirmed)]))

    def _test(self, suspects: dict[str, float]) -> Iterator[Tested]:
        for fault in suspects:
            best: Tested | None = None
            for kind in swaps_for(fault):
                if self._spent():
                    break
                entry = self._try(fault, kind, hopeful=suspects[fault] >= HOPEFUL)
                if entry is not None and (best is None or entry.result.after > best.result.after):
                    best = entry
                if entry is not None and entry.result.better:
                    break
            if best is not None:
                yield best

    def _search(self, tried: set[str]) -> Iterator[Tested]:
        for kind in swaps().values():
            if kind.name in tried or self._spent():
                continue
            fault = min(kind.undoes, key=lambda name: (name in SYMPTOMS, layer_of(name, self.layer).rank, name))
            if layer_of(fault, self.layer).rank < self.layer.rank - 2:
                continue
            entry = self._try(fault, kind, hopeful=False)
            if entry is not None and entry.result.better:
                yield entry

    def _try(self, fault: str, kind: SwapKind, hopeful: bool) -> Tested | None:
        progress.emit(progress.Step(self.layer, f"undo {fault}: {kind.change}"))
        try:
            swapped = kind.apply(self.subject)
        except (Missing, UserCodeError, FirstfaultError):
            return None
        name, _ = metric_of(swapped.task, swapped.training.metric)
        own = metric_of(self.recipe.task, self.recipe.training.metric)[0]
        judged_by = swapped if kind.same_validation or name != own else None
        if kind.name in self.known:
            return replace(self.known[kind.name], fault=fault)
        self.known[kind.name] = entry = self._compare(fault, kind, swapped, name, judged_by, hopeful)
        return entry

    def _compare(
        self, fault: str, kind: SwapKind, swapped: Recipe, name: str, judged_by: Recipe | None, hopeful: bool
    ) -> Tested:
        if not hopeful:
            first = self.bench.scores(fault, kind.change, swapped, seeds=1)
            before = self.bench.baseline(judged_by, seeds=1)
            if first[0] <= before[0] + compare(before, before, name).noise:
                return Tested(fault, kind, name, compare(before, first, name), 1)
        after = self.bench.scores(fault, kind.change, swapped)
        return Tested(fault, kind, name, compare(self.bench.baseline(judged_by), after, name), self.seeds)

    def _spent(self) -> bool:
        return time.monotonic() - self.started > self.budget

    def _outcome(self, fault: str, tested: Sequence[Tested], confirmed: Sequence[Tested]) -> Outcome:
        own = [entry for entry in tested if entry.fault == fault]
        if not own:
            reason = "no swap undoes it" if not swaps_for(fault) else "not tested: the swaps do not apply, or the budget was spent"
            return Outcome(fault, None, reason=reason)
        stands = any(entry.fault == fault for entry in confirmed)
        others = list(dict.fromkeys(
            entry.kind.change for entry in tested if entry.result.better and entry.kind.name != own[0].kind.name
        ))
        reason = f"also restored by: {', '.join(others)}" if stands and others else ""
        if self.bench.share < 1:
            reason += f" (both arms on {self.bench.share:.0%} of the rows)"
        return Outcome(fault, stands, own[0].swap(), reason.strip())


def _confirmed(tested: Sequence[Tested]) -> list[Tested]:
    """The repairs that help as much as the best one; the first of equals is the most suspected."""
    better = [entry for entry in tested if entry.result.better]
    if not better:
        return []
    best = max(entry.result.after for entry in better)
    equals = [entry for entry in better if entry.result.after >= best - max(entry.result.noise, 0.02 * abs(best))]
    return equals[:1]
