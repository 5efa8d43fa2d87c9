"""Confirming suspicions: undo each suspected fault, retrain over paired seeds, and see what recovers."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from firstfault.ablation.budget import Budget, default_seconds, scale_for, training_seconds
from firstfault.ablation.swap import SwapKind, swaps, swaps_for
from firstfault.ablation.testing import Tested, Tester, leaders
from firstfault.ablation.trial import Bench, OnTrial
from firstfault.check import REGISTRY
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.faults import SYMPTOMS, layer_of
from firstfault.finding import Layer, LayerReport, Status
from firstfault.verdict import PROOF, Outcome, suspected

HOPEFUL = 0.7
SEARCHED = (Layer.PREPROCESSING, Layer.MODEL, Layer.TRAINING)
SEARCHING = (Layer.MODEL, Layer.TRAINING)
SURPLUS = 2.0
NO_SWAP = "no swap undoes it"
BESIDE_THE_SCORE = frozenset({"nonreproducible", "input_bottleneck"})
"""Faults that leave the score alone: no search for what raises it follows from them."""


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
    confirmed and no structure proves a fault of the model or training, the other swaps are searched.

    Args:
        subject: the target under examination.
        report: the layer whose failed findings name the suspects.
        budget_seconds: for all trainings after the first of the unchanged target. Left out: 3 trainings
            of the target and at least 15 s at standard depth, 20 and 60 s at deep, 1 and 5–10 s at quick.
        seeds: paired seeds per comparison; two more are added where three leave a doubt.
        on_trial: called after every training.

    Raises:
        ValueError: for fewer than 2 seeds.
    """
    if seeds < 2:
        raise ValueError(f"seeds must be at least 2, but got {seeds}")
    weights = suspected(report)
    served = [fault for fault in weights if layer_of(fault, report.layer) is Layer.DEPLOYMENT]
    outcomes = [_served(subject, fault) for fault in served]
    suspects = {fault: weight for fault, weight in weights.items() if fault not in served}
    if not suspects:
        return outcomes
    if "user_code_raises" in suspects:
        return outcomes + _untested(suspects, "the target's code raises")
    if not any(swaps_for(fault) for fault in suspects) and (report.layer not in SEARCHING or set(suspects) <= BESIDE_THE_SCORE):
        return outcomes + _untested(suspects, NO_SWAP)
    try:
        bench = Bench(subject, seeds, on_trial)
    except (Missing, UserCodeError, FirstfaultError) as reason:
        return outcomes + _untested(suspects, subject.masked(str(reason)))
    return outcomes + _Trials(subject, report, suspects, bench, budget_seconds).outcomes()


def _untested(faults: Iterable[str], reason: str) -> list[Outcome]:
    return [Outcome(fault, None, reason=reason) for fault in faults]


def _served(subject: Any, fault: str) -> Outcome:
    if importlib.util.find_spec("firstfault.ablation.serving") is None:
        return Outcome(fault, None, reason=NO_SWAP)
    from firstfault.ablation.serving import confirm_serving

    return confirm_serving(subject, fault) or Outcome(fault, None, reason=NO_SWAP)


class _Trials:
    """The trials of one confirmation: first the suspects, most suspected first, then a search."""

    def __init__(
        self, subject: Any, report: LayerReport, suspects: Mapping[str, float], bench: Bench,
        seconds: float | None,
    ) -> None:
        self.subject, self.report, self.suspects = subject, report, suspects
        self.proven = frozenset(
            fault for finding in report.failures
            for fault, weight in finding.faults.items() if weight >= PROOF
        )
        once = training_seconds(subject, bench)
        seconds = default_seconds(subject.depth, once) if seconds is None else seconds
        arms = sum(len(swaps_for(fault)) for fault in suspects)
        bench = Bench(subject, len(bench.seeds), bench.on_trial, scale_for(bench, seconds, once, arms))
        self.tester = Tester(bench, report.layer, Budget(seconds))
        self.tested: list[Tested] = []

    def outcomes(self) -> list[Outcome]:
        self.tested = [entry for fault in self.suspects for entry in self._best_of(fault)]
        standing = leaders(self.tested, self.suspects, self.proven)
        cured = any(self._healthy(entry, unknown=True) for entry in standing)
        if not cured and not self.proven and self.report.layer in SEARCHING and not self._sound():
            found = self._search()
            self.tested += found
            standing = _bests([*standing, *found[:1]])
        names = dict.fromkeys([*self.suspects, *(entry.fault for entry in standing)])
        return [self._outcome(fault, standing) for fault in names]

    def _best_of(self, fault: str) -> Iterator[Tested]:
        """The best of the swaps that undo a fault: they are tried in order until one restores health."""
        best: Tested | None = None
        for kind in swaps_for(fault):
            entry = self.tester.attempt(fault, kind, patient=self.suspects[fault] >= HOPEFUL)
            if entry is not None and (best is None or _better(entry, best)):
                best = entry
            if entry is not None and entry.repaired and self._healthy(entry, unknown=True):
                break
        if best is not None:
            yield best

    def _search(self) -> list[Tested]:
        """The repairs outside the suspects, best first; it ends with the first that restores health."""
        found: list[Tested] = []
        for fault, kind in self._candidates():
            entry = self.tester.attempt(fault, kind, patient=False)
            if entry is None or not entry.repaired or entry.result.gain < SURPLUS * entry.result.noise:
                continue
            found.append(entry)
            if self._healthy(entry, unknown=False):
                break
        return sorted(found, key=lambda entry: -entry.result.gain)

    def _candidates(self) -> list[tuple[str, SwapKind]]:
        """Swaps of the searched layers with the fault that each would be evidence for; this layer's first."""
        acquitted = _acquitted(self.report)
        pairs = []
        for kind in swaps().values():
            faults = [
                fault for fault in kind.undoes - acquitted if layer_of(fault, self.report.layer) in SEARCHED
            ]
            if faults:
                pairs.append((min(faults, key=self._order), kind))
        return sorted(pairs, key=lambda pair: self._order(pair[0])[1:3])

    def _order(self, fault: str) -> tuple[float, bool, int, str]:
        layer = layer_of(fault, self.report.layer)
        return (
            -self.suspects.get(fault, 0.0), fault in SYMPTOMS,
            0 if layer is self.report.layer else len(Layer) - layer.rank, fault,
        )

    def _sound(self) -> bool:
        """Whether the unchanged target is as good as a simple model: then there is nothing to search for."""
        score = self.tester.bench.full_score()
        return score is not None and self._mark is not None and score >= self._mark

    def _healthy(self, entry: Tested, *, unknown: bool) -> bool:
        """Whether a repair reaches what a simple model reaches; `unknown` where none can be trained."""
        if self._mark is None or entry.metric != self.tester.bench.metric or entry.kind.same_validation:
            return unknown
        return entry.result.after >= self._mark - entry.result.noise

    @functools.cached_property
    def _mark(self) -> float | None:
        from firstfault.baseline import baselines

        try:
            simple = baselines(self.subject)
        except Exception:                                   # labels or inputs that a simple model can't take
            return None
        return simple.best if math.isfinite(simple.best) and simple.best > simple.prior else None

    def _outcome(self, fault: str, standing: Sequence[Tested]) -> Outcome:
        own = next((entry for entry in [*standing, *self.tested] if entry.fault == fault), None)
        if own is None:
            reason = self.tester.untested.get(fault)
            return Outcome(fault, None, reason=reason or NO_SWAP)
        if own.open:
            return Outcome(fault, None, own.swap(), own.open)
        return Outcome(fault, own in standing, own.swap(), self._reason(own, standing))

    def _reason(self, own: Tested, standing: Sequence[Tested]) -> str:
        others = list(dict.fromkeys(
            entry.kind.change for entry in self.tested if entry.repaired and entry.kind.name != own.kind.name
        ))
        parts = []
        if own in standing and others:
            parts.append(f"also restored by: {', '.join(others)}")
        if own not in standing and own.repaired:
            better = ", ".join(entry.kind.change for entry in standing)
            parts.append(f"it helps too; the better explanation: {better}")
        if not self.tester.bench.scale.full:
            parts.append(f"both arms on {self.tester.bench.scale}")
        return "; ".join(parts)


def _bests(repairs: Sequence[Tested]) -> list[Tested]:
    """The repairs that help as much as the best of them."""
    return leaders(repairs, {}, frozenset())


def _better(entry: Tested, other: Tested) -> bool:
    return (entry.repaired, entry.result.gain) > (other.repaired, other.result.gain)


def _acquitted(report: LayerReport) -> frozenset[str]:
    """The faults that a check of this report proves where they are, and did not find."""
    passed = [finding.check for finding in report.findings if finding.status is Status.PASS]
    return frozenset(
        fault for name in passed if name in REGISTRY
        for fault, weight in REGISTRY[name].detects.items() if weight >= PROOF
    ) - frozenset(suspected(report))
