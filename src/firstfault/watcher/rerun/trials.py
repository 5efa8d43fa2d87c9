"""The paired trials of a rerun: the user's script with one intervention beside the script without it, seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from firstfault.ablation.compare import Comparison
from firstfault.errors import Missing
from firstfault.faults import SYMPTOMS
from firstfault.probe.interventions.catalogue import interventions_for, why_none
from firstfault.probe.interventions.intervention import Intervention
from firstfault.probe.record import Record
from firstfault.training.scores import least_effect
from firstfault.verdict import Outcome, Swap
from firstfault.watcher.rerun.arm import Arm, Ending
from firstfault.watcher.rerun.comparing import compared, learnt_by_heart
from firstfault.watcher.rerun.owner import Stand
from firstfault.watcher.rerun.scores import Measure, measure_of, tells_returns, unlike

SEEDS, MORE_SEEDS = 3, 2
"""Pairs of a comparison, and those that are added where it leaves a doubt."""
FEWEST_STEPS = 0.2
"""The share of the watched steps that an arm must have made: fewer tell nothing of the rest."""
LOST = 0.25
"""Nearer than this to the score of a constant answer, on the way to a perfect one, a script learns next to nothing."""
HOPEFUL = 0.7
"""A suspicion of this weight is not given up after the first seed that gains nothing."""
OF_THE_PACE = frozenset({"learning_rate_too_low", "too_few_epochs", "wrong_optimizer", "batch_size_too_large"})
"""Faults of which a shortened training of a healthy script shows the symptoms too."""

RIVALS = "its optimizers learn from losses of their own, perhaps against each other: no score tells what is better"

Told = Callable[[str], None]


@dataclass(frozen=True)
class Tested:
    """One intervention that was tried for one fault: what it changed, by which measure, and how the arms compare."""

    fault: str
    change: str
    metric: str
    result: Comparison
    repaired: bool
    open: str = ""
    sets: Mapping[str, float | str | bool] = field(default_factory=dict)
    acquits: bool = True

    def swap(self) -> Swap:
        """The numbers for the verdict; a loss stands there as it is, and not with its sign turned."""
        sign = -1.0 if self.metric.endswith("loss") else 1.0
        result = self.result
        return Swap(
            f"{self.change} in your own script",
            self.metric,
            sign * result.before,
            sign * result.after,
            result.seeds,
            result.p_value,
            self.sets,
        )


class Trials:
    """Tests the suspicions of one script.

    `seconds` and `wall` bound every arm, `crash` is what ended the watched run, `told` hears what is done.
    Arms are kept: an intervention that undoes several faults runs once, the unchanged script once for each seed.
    """

    def __init__(self, stand: Stand, record: Record, crash: str, seconds: float, wall: float, told: Told) -> None:
        self.stand, self.record, self.crash, self.told = stand, record, crash, told
        self.seconds, self.wall = seconds, wall
        self._kept: dict[tuple[str | None, int], Ending] = {}

    def outcomes(self, suspects: Mapping[str, float]) -> list[Outcome]:
        """The outcome of every suspicion, the most suspected first."""
        try:
            why_not = unlike(self.record, self._ending(None, 0), self.crash)
        except Missing as error:
            return [Outcome(fault, None, reason=str(error)) for fault in suspects]
        if why_not:
            reason = f"run again, the script didn't repeat what was watched: {why_not}{self._denied()}"
            return [Outcome(fault, None, reason=reason) for fault in suspects]
        if self._ending(None, 0).learners > 1 and not tells_returns(self._ending(None, 0)):
            return [Outcome(fault, None, reason=RIVALS) for fault in suspects]
        why: dict[str, str] = {}
        tested = [
            entry
            for fault, weight in suspects.items()
            if (entry := self._best_of(fault, weight >= HOPEFUL, why)) is not None
        ]
        standing = _standing(tested, suspects)
        return [self._outcome(fault, tested, standing, why) for fault in suspects]

    def _denied(self) -> str:
        denied = self._ending(None, 0).denied
        return f" (it was kept from {', '.join(denied)})" if denied else ""

    # ------------------------------------------------------------------ one fault

    def _best_of(self, fault: str, patient: bool, why: dict[str, str]) -> Tested | None:
        """The best of the interventions that undo a fault; they are tried in order until one restores the training."""
        known = interventions_for(fault)
        if not known:
            why[fault] = why_none(fault)
        best: Tested | None = None
        for kind in known:
            try:
                entry = self._attempt(fault, kind, patient)
            except Missing as reason:
                why[fault] = str(reason)
                continue
            if best is None or (entry.repaired, entry.result.gain) > (best.repaired, best.result.gain):
                best = entry
            if entry.repaired and not self._lost(entry.result.after):
                break
        return best

    def _attempt(self, fault: str, kind: Intervention, patient: bool) -> Tested:
        """One intervention beside the unchanged script.

        Raises:
            Missing: where it found nothing to change, or there is nothing to compare.
        """
        self.told(f"undo {fault}: {kind.announced(self.record)}")
        first = self._ending(kind.name, 0)
        if not first.changes:
            raise Missing(f"{kind.change}: there was nothing of that kind to change")
        measure = measure_of(self._ending(None, 0), keeps_loss=kind.keeps_loss, on_validation=kind.on_validation)
        if measure is None and kind.on_validation:
            raise Missing(f"{kind.change}: only a validation by a loss function of torch could judge that")
        if measure is None:
            raise Missing(
                "it can't be scored: no loss function of torch was given outputs and targets, and no reward seen"
            )
        result, doubt = self._compared(kind, measure, patient)
        change = ", ".join(first.changes)
        return Tested(
            fault, change, measure.metric, result, result.better and not doubt, doubt, first.sets, kind.acquits
        )

    def _compared(self, kind: Intervention, measure: Measure, patient: bool) -> tuple[Comparison, str]:
        """The arms over as many seeds as it takes, all cut to the steps of the shortest."""
        pairs: list[tuple[Ending, Ending]] = []
        while True:
            offset = len(pairs)
            pairs.append((self._ending(None, offset), self._ending(kind.name, offset)))
            steps = self._common(pairs)
            result = compared(measure, pairs, steps)
            if self._decided(result, measure, patient):
                break
        if result.better and kind.undoes & OF_THE_PACE and (held := learnt_by_heart(measure, pairs, steps)):
            return result, held
        if steps >= self.record.steps * 0.9 or not result.gain > 0:
            return result, ""
        if steps < FEWEST_STEPS * self.record.steps:
            return result, f"in the seconds that there were, {steps:,} of {self.record.steps:,} steps could be made"
        hasty = OF_THE_PACE & kind.undoes
        return (
            result,
            f"after {steps:,} of {self.record.steps:,} steps a healthy script would gain too" if hasty else "",
        )

    def _common(self, pairs: Sequence[tuple[Ending, Ending]]) -> int:
        """The steps that all have made; one that broke off by itself is judged at the steps that it lacks."""
        every = [ending for pair in pairs for ending in pair]
        cut = [ending.steps for ending in every if ending.cut]
        return max(1, min([*cut, self._ending(None, 0).steps]))

    def _decided(self, result: Comparison, measure: Measure, patient: bool) -> bool:
        if result.gain <= least_effect(measure.family, [result.before]) and result.seeds > patient:
            return True
        if result.seeds < SEEDS:
            return False
        return result.better or result.seeds >= SEEDS + MORE_SEEDS

    def _ending(self, intervention: str | None, offset: int) -> Ending:
        key = (intervention, offset)
        if key not in self._kept:
            arm = Arm(intervention, offset, self.record.steps, self.seconds, self.wall)
            self._kept[key] = self.stand.run(arm)
        return self._kept[key]

    # ------------------------------------------------------------------ the outcome

    def _outcome(
        self, fault: str, tested: Sequence[Tested], standing: Sequence[Tested], why: Mapping[str, str]
    ) -> Outcome:
        own = next((entry for entry in tested if entry.fault == fault), None)
        if own is None:
            return Outcome(fault, None, reason=f"run again: {why.get(fault, 'nothing was tried')}")
        if own.open:
            return Outcome(fault, None, own.swap(), own.open, undecided=True)
        if own in standing:
            others = dict.fromkeys(entry.change for entry in tested if entry.repaired and entry is not own)
            return Outcome(fault, True, own.swap(), f"also restored by: {', '.join(others)}" if others else "")
        if standing and (own.acquits or own.repaired):
            better = ", ".join(dict.fromkeys(entry.change for entry in standing))
            helps = f"it helps too; the better explanation: {better}" if own.repaired else ""
            return Outcome(fault, False, own.swap(), helps)
        return self._acquitted(own)

    def _acquitted(self, own: Tested) -> Outcome:
        """What brought nothing: it acquits in a script that learns, and tells nothing in one that does not."""
        if not own.acquits:
            return Outcome(own.fault, None, own.swap(), "this change gains nothing, which does not clear it")
        if own.result.seeds >= SEEDS:  # one that brings nothing is given up before
            reason = f"the gain is not clear over {own.result.seeds} seeds"
            return Outcome(own.fault, None, own.swap(), reason, undecided=True)
        if self._lost(own.result.before):
            reason = "no change that was tried restores a script that learns next to nothing"
            return Outcome(own.fault, None, own.swap(), reason, undecided=True)
        return Outcome(own.fault, False, own.swap())

    def _lost(self, value: float) -> bool:
        """Whether a score is next to that of a constant answer; of a loss nobody knows."""
        measure = measure_of(self._ending(None, 0), keeps_loss=True)
        score = measure.score(self._ending(None, 0), self._ending(None, 0).steps) if measure is not None else None
        if score is None or score.prior is None:
            return True
        return value < score.prior + LOST * (1 - score.prior)


def _standing(tested: Sequence[Tested], weights: Mapping[str, float]) -> list[Tested]:
    """Of the repairs that help as much as the best one, those of the most suspected fault; causes beat symptoms."""
    repaired = [entry for entry in tested if entry.repaired]
    if not repaired:
        return []
    best = max(repaired, key=lambda entry: entry.result.gain)
    band = [max(entry.result.spread, best.result.spread) for entry in repaired]
    equal = [entry for entry, wide in zip(repaired, band, strict=True) if entry.result.gain >= best.result.gain - wide]
    causes = [entry for entry in equal if entry.fault not in SYMPTOMS] or equal
    most = max(weights.get(entry.fault, 0.0) for entry in causes)
    return [entry for entry in causes if weights.get(entry.fault, 0.0) >= most - 1e-9]
