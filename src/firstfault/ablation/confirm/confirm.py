"""Confirming suspicions: undo each suspected fault, retrain over paired seeds, and see what recovers.

The rules that decide are one ordered list, `confirm.rules.RULES`; the code asks it by their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from firstfault.ablation.confirm.blame import Blame
from firstfault.ablation.confirm.budget import Budget, default_seconds, scale_for, training_seconds
from firstfault.ablation.confirm.choice import Choice
from firstfault.ablation.confirm.health import Health
from firstfault.ablation.confirm.optimizer import spared_optimizer
from firstfault.ablation.confirm.paired_trials import Tested, Tester
from firstfault.ablation.confirm.rules import Rules
from firstfault.ablation.confirm.search import Search
from firstfault.ablation.confirm.telling import NO_SWAP, SEARCHING, Telling
from firstfault.ablation.confirm.trials import Bench, OnTrial
from firstfault.ablation.swap import swaps_for
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.faults import SYMPTOMS, layer_of
from firstfault.finding import Layer, LayerReport
from firstfault.standing import PROOF, suspected
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome

BESIDE_THE_SCORE = frozenset({"nonreproducible", "input_bottleneck"})
"""Faults that leave the score alone: no search for what raises it follows from them."""


def confirm(
    subject: Subject,
    report: LayerReport,
    *,
    budget_seconds: float | None = None,
    seeds: int = 3,
    on_trial: OnTrial | None = None,
    rules: Rules | None = None,
) -> list[Outcome]:
    """Undo each fault that a layer's failed findings point to, and compare with the unchanged target.

    Both arms are trained over the same seeds; a fault is confirmed when undoing it improves the metric by more than
    the noise, and as much as the best of the other repairs. Where no repair of a suspect restores health, sets of swaps
    are searched, and the other single ones. Where not even these restore a training that is lost, nothing is acquitted
    by it: its suspects stay untested.

    Args:
        subject: the target under examination.
        report: the layer whose failed findings name the suspects.
        budget_seconds: for all trainings after the first of the unchanged target. Left out: 3 trainings of the target
            and at least 15 s at standard depth, 20 and 60 s at deep, 1 and 5–10 s at quick.
        seeds: paired seeds per comparison; two more are added where three leave a doubt.
        on_trial: called after every training.
        rules: the rules that are on; all of them if left out. It counts what each of them decided.

    Raises:
        ValueError: for fewer than 2 seeds.
    """
    if seeds < 2:
        raise ValueError(f"seeds must be at least 2, but got {seeds}")
    if subject.target.lm is not None:
        from firstfault.ablation.confirm.cuts import confirm_cuts

        return confirm_cuts(subject, report)
    rules = rules or Rules()
    weights = suspected(report)
    served = [fault for fault in weights if layer_of(fault, report.layer) is Layer.DEPLOYMENT]
    outcomes = [_served(subject, fault) for fault in served]
    suspects = {fault: weight for fault, weight in weights.items() if fault not in served}
    if not suspects:
        return outcomes
    if reason := _untestable(report.layer, suspects, rules):
        return outcomes + _untested(suspects, reason)
    try:
        bench = Bench(subject, seeds, on_trial)
    except (Missing, UserCodeError, FirstfaultError) as error:
        return outcomes + _untested(suspects, subject.masked(str(error)))
    return outcomes + _Trials(subject, report, suspects, bench, budget_seconds, rules).outcomes()


def _untestable(layer: Layer, suspects: Mapping[str, float], rules: Rules) -> str:
    """Why nothing is trained for these suspects; empty where something is."""
    if rules.decides("code_raises", "user_code_raises" in suspects):
        return "the target's code raises"
    undone = any(swaps_for(fault) for fault in suspects)
    beside = set(suspects) <= BESIDE_THE_SCORE
    if rules.decides("no_swap", not undone and layer not in SEARCHING):
        return NO_SWAP
    return NO_SWAP if rules.decides("beside_the_score", not undone and beside) else ""


def _untested(faults: Iterable[str], reason: str) -> list[Outcome]:
    return [Outcome(fault, None, reason=reason) for fault in faults]


def _served(subject: Subject, fault: str) -> Outcome:
    from firstfault.ablation.confirm.serving import confirm_serving

    return confirm_serving(subject, fault) or Outcome(fault, None, reason=NO_SWAP)


@memo(of="raw")
def _suspicions(subject: Subject) -> dict[str, float]:
    """What was suspected of a subject so far, layer after layer."""
    return {}


class _Trials:
    """The trials of one confirmation: first the suspects, the most suspected first, then the search beyond them."""

    def __init__(
        self,
        subject: Subject,
        report: LayerReport,
        suspects: Mapping[str, float],
        bench: Bench,
        seconds: float | None,
        rules: Rules,
    ) -> None:
        self.report, self.suspects, self.rules = report, suspects, rules
        # of a `fit` that was not observed yet no replay can be asked for
        looped = subject.recipe.training.fit is not None
        once = training_seconds(subject, bench) if looped else None
        self.spared = spared_optimizer(subject, rules)
        self.blame = Blame(subject, report, suspects, dict(_suspicions(subject)), frozenset(self.spared), rules)
        _suspicions(subject).update(suspects)
        once = once or training_seconds(subject, bench)
        seconds = default_seconds(subject.depth, once) if seconds is None else seconds
        arms = sum(len(swaps_for(fault)) for fault in suspects)
        bench = Bench(subject, len(bench.seeds), bench.on_trial, scale_for(bench, seconds, once, arms))
        self.tester = Tester(bench, report.layer, Budget(seconds), rules)
        self.tester.untested |= self.spared
        self.health = Health(subject, self.tester)

    def outcomes(self) -> list[Outcome]:
        proven = _proven(self.report)
        tested = [entry for fault in self.suspects if fault not in self.spared for entry in self._best_of(fault)]
        standing = Choice(self.suspects, proven, self.health, self.rules).standing(tested)
        if not self._is_settled(standing):
            search = Search(self.tester, self.health, self.blame, self.suspects, proven)
            standing, tested = search.beyond(tested, standing), search.tested
        telling = Telling(self.report, self.tester, self.health, tested, standing, self.spared)
        return [telling.outcome(name) for name in dict.fromkeys([*self.suspects, *(e.fault for e in standing)])]

    def _best_of(self, fault: str) -> Iterator[Tested]:
        """The best of the swaps that undo a fault."""
        tried: list[Tested] = []
        for kind in swaps_for(fault):
            entry = self.tester.attempt(fault, kind)
            if entry is None:
                continue
            tried.append(entry)
            if self.rules.decides("first_cure", entry.repaired and self.health.restored(entry, unknown=True)):
                break
        if tried:
            yield max(tried, key=lambda entry: (entry.repaired, entry.result.gain))

    def _is_settled(self, standing: Iterable[Tested]) -> bool:
        """Whether nothing is looked for beyond the suspects."""
        cured = any(self.health.restored(entry, unknown=True) for entry in standing)
        return (
            self.rules.decides("cured", cured)
            or self.rules.decides("searching_layers", self.report.layer not in SEARCHING)
            or self.rules.decides("sound_target", self.health.sound)
        )


def _proven(report: LayerReport) -> frozenset[str]:
    """The faults of which structure is the proof, but for symptoms."""
    return frozenset(
        fault
        for finding in report.failures
        for fault, weight in finding.faults.items()
        if weight >= PROOF and fault not in SYMPTOMS
    )
