"""Confirming suspicions: undo each suspected fault, retrain over paired seeds, and see what recovers."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence

from firstfault.ablation.confirm.budget import Budget, default_seconds, scale_for, training_seconds
from firstfault.ablation.confirm.health import Health
from firstfault.ablation.confirm.look_alikes import absent, argue, ruled_out, spared
from firstfault.ablation.confirm.multi_fault import SURPLUS, Sets, one_of_each, partial
from firstfault.ablation.confirm.paired_trials import Tested, Tester, leaders
from firstfault.ablation.confirm.trials import Bench, OnTrial
from firstfault.ablation.swap import Size, SwapKind, swaps, swaps_for
from firstfault.check import REGISTRY
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.faults import SYMPTOMS, layer_of
from firstfault.finding import Layer, LayerReport, Status
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.verdict import PROOF, Outcome, suspected

HOPEFUL = 0.7
SEARCHED = (Layer.PREPROCESSING, Layer.MODEL, Layer.TRAINING)
SEARCHING = (Layer.MODEL, Layer.TRAINING)
DEAR = frozenset({"longer", "much_longer", "range_test_from_above", "range_test_from_below"})
"""Swaps that cost more than a training of the target: only a suspicion calls for them."""
UNSUSPECTED = {"usual_rate_from_below": -2, "usual_rate_from_above": -2, "adam": -1}
"""Which step size a set begins with where none was found to help: the usual one, else another optimizer."""
KEPT_BACK = 0.7
CLEAN = 0.8
NO_SWAP = "no swap undoes it"
BESIDE_THE_SCORE = frozenset({"nonreproducible", "input_bottleneck"})
"""Faults that leave the score alone: no search for what raises it follows from them."""


def confirm(
    subject: Subject,
    report: LayerReport,
    *,
    budget_seconds: float | None = None,
    seeds: int = 3,
    on_trial: OnTrial | None = None,
) -> list[Outcome]:
    """Undo each fault that a layer's failed findings point to, and compare with the unchanged target.

    Both arms are trained over the same seeds; a fault is confirmed when undoing it improves the
    metric by more than the noise, and as much as the best of the other repairs. When nothing is
    confirmed and no structure proves a fault of the model or training, the other swaps are searched, and at last sets of them. Where
    not even these restore a training that is lost, nothing is acquitted by it: its suspects stay untested.

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
    if not any(swaps_for(fault) for fault in suspects) and (
        report.layer not in SEARCHING or set(suspects) <= BESIDE_THE_SCORE
    ):
        return outcomes + _untested(suspects, NO_SWAP)
    try:
        bench = Bench(subject, seeds, on_trial)
    except (Missing, UserCodeError, FirstfaultError) as reason:
        return outcomes + _untested(suspects, subject.masked(str(reason)))
    return outcomes + _Trials(subject, report, suspects, bench, budget_seconds).outcomes()


def _untested(faults: Iterable[str], reason: str) -> list[Outcome]:
    return [Outcome(fault, None, reason=reason) for fault in faults]


def _served(subject: Subject, fault: str) -> Outcome:
    if importlib.util.find_spec("firstfault.ablation.confirm.serving") is None:
        return Outcome(fault, None, reason=NO_SWAP)
    from firstfault.ablation.confirm.serving import confirm_serving

    return confirm_serving(subject, fault) or Outcome(fault, None, reason=NO_SWAP)


@memo(of="raw")
def _suspicions(subject: Subject) -> dict[str, float]:
    """What was suspected of a subject so far, layer after layer."""
    return {}


class _Trials:
    """The trials of one confirmation: first the suspects, most suspected first, then all of them at once, then a search."""

    def __init__(
        self, subject: Subject, report: LayerReport, suspects: Mapping[str, float], bench: Bench, seconds: float | None
    ) -> None:
        self.subject, self.report, self.suspects = subject, report, suspects
        self.proven = frozenset(
            fault
            for finding in report.failures
            for fault, weight in finding.faults.items()
            if weight >= PROOF and fault not in SYMPTOMS
        )
        self.spared = spared(subject)
        self.acquitted = acquitted(report) | set(self.spared)
        self.earlier: dict[str, float] = dict(_suspicions(subject))
        _suspicions(subject).update(suspects)
        once = training_seconds(subject, bench)
        seconds = default_seconds(subject.depth, once) if seconds is None else seconds
        arms = sum(len(swaps_for(fault)) for fault in suspects)
        bench = Bench(subject, len(bench.seeds), bench.on_trial, scale_for(bench, seconds, once, arms))
        self.tester = Tester(bench, report.layer, Budget(seconds))
        self.health = Health(subject, self.tester)
        self.sets = Sets(self.tester, self.health, self._blamed)
        self.tester.untested |= self.spared
        self.tested: list[Tested] = []

    def outcomes(self) -> list[Outcome]:
        self.tested = [entry for fault in self.suspects if fault not in self.spared for entry in self._best_of(fault)]
        standing = leaders(self._unrefuted(), self.suspects, self.proven)
        cured = any(self.health.restored(entry, unknown=True) for entry in standing)
        if not cured and self.report.layer in SEARCHING and not self.health.sound():
            standing = self._beyond(standing)
        names = dict.fromkeys([*self.suspects, *(entry.fault for entry in standing)])
        return [self._outcome(fault, standing) for fault in names]

    def _unrefuted(self) -> list[Tested]:
        """What was tried, without those of the equally good repairs of which the evidence says that they undo no cause."""
        symptoms = ruled_out(self.subject, {entry.fault for entry in _bests(self.tested)}) - self.proven
        # Adam at its usual rate repairs whatever is wrong with the pace
        least = self.suspects.get("wrong_optimizer", 0.0)
        if any(
            entry.repaired
            and self.suspects.get(entry.fault, 0.0) > least
            and self.health.restored(entry, unknown=False)
            for entry in self.tested
        ):
            symptoms = symptoms | {"wrong_optimizer"}
        return [entry for entry in self.tested if entry.fault not in symptoms]

    def _best_of(self, fault: str) -> Iterator[Tested]:
        """The best of the swaps that undo a fault: they are tried in order until one restores health."""
        best: Tested | None = None
        for kind in swaps_for(fault):
            entry = self.tester.attempt(fault, kind, patient=self.suspects[fault] >= HOPEFUL)
            if entry is not None and (best is None or _better(entry, best)):
                best = entry
            if entry is not None and entry.repaired and self.health.restored(entry, unknown=True):
                break
        if best is not None:
            yield best

    def _beyond(self, standing: list[Tested]) -> list[Tested]:
        """What stands when no suspect alone restores health: the smallest set of swaps, another single repair, or a partial one that grows."""
        kinds = self._all_at_once()
        if self.proven and self.sets.promises([kind for kind in kinds if self._blamed(kind) not in self.proven]):
            return standing  # health comes back without the repair of what is proven: no second fault beside it
        found = self.sets.among(kinds)
        if not found and not self.proven:
            singles = self._search()
            self.tested += singles
            standing = _bests([*standing, *singles[:1]])
        if not found and not any(self.health.restored(entry, unknown=True) for entry in standing):
            found = self.sets.grown(self._stem(standing), [kind for _, kind in self._candidates()])
        if not found or not self._proof_is_in(found):
            return standing
        self.tested = [*found, *self.tested]
        return [*found, *(entry for entry in standing if entry.fault in self.proven)]

    def _proof_is_in(self, found: Sequence[Tested]) -> bool:
        """Beside a fault that structure proves, only a set that undoes it too is believed."""
        return not self.proven or bool(self.proven & {entry.fault for entry in found})

    def _all_at_once(self) -> list[SwapKind]:
        """Known-good parts for everything that may be blamed and is no large change, the most likely and most helpful first."""
        gains = {entry.kind.name: entry.result.gain for entry in self.tester.known if entry.result.gain > 0}
        order = {kind.name: number for number, (_, kind) in enumerate(self._candidates())}
        kinds = [
            kind
            for fault, kind in self._candidates()
            if fault in self.suspects or (kind.size < Size.PART and kind.name not in DEAR)
        ]
        kinds.sort(
            key=lambda kind: (
                kind.slot == "optimizer",
                -gains.get(kind.name, 0.0),
                UNSUSPECTED.get(kind.name, 0),
                order[kind.name],
            )
        )
        kept = one_of_each(self.subject, kinds, self._blamed)
        return sorted(kept, key=lambda kind: order[kind.name])

    def _stem(self, standing: Sequence[Tested]) -> Tested | None:
        """What a set grows from: the repair of what structure proves, else the best partial repair."""
        proven = [entry for entry in self.tested if entry.fault in self.proven]
        return (
            partial(standing)
            or max(proven, key=lambda entry: entry.result.gain, default=None)
            or partial(self.tester.known)
        )

    def _search(self) -> list[Tested]:
        """The repairs outside the suspects, best first; it ends with the first that restores health.

        When there is a partial repair, the last part of the budget is kept for what may have to be added to it.
        """
        found: list[Tested] = []
        for fault, kind in self._candidates():
            if self.tester.budget.spent > KEPT_BACK and partial(self.tester.known) is not None:
                break
            entry = self.tester.attempt(fault, kind, patient=False)
            if entry is None or not entry.repaired or entry.result.gain < SURPLUS * entry.result.noise:
                continue
            found.append(entry)
            if self.health.restored(entry, unknown=False):
                break
        return sorted(found, key=lambda entry: -entry.result.gain)

    def _candidates(self) -> list[tuple[str, SwapKind]]:
        """Swaps of the searched layers with the fault that each would be evidence for; this layer's first."""
        pairs = [(fault, kind) for kind in swaps().values() if (fault := self._blamed(kind)) is not None]
        return sorted(pairs, key=lambda pair: (pair[0] not in self.earlier, *self._order(pair[0])[1:3]))

    def _blamed(self, kind: SwapKind) -> str | None:
        """The fault that a swap would be evidence for."""
        faults = [
            fault
            for fault in kind.undoes - self.acquitted
            if fault in self.suspects or layer_of(fault, self.report.layer) in SEARCHED
        ]
        return min(faults, key=self._order, default=None)

    @functools.cached_property
    def _absent(self) -> frozenset[str]:
        return absent(self.subject)

    def _order(self, fault: str) -> tuple[float, bool, int, bool, str]:
        """What is suspected here, then what was in an earlier layer; causes, then symptoms; this layer, then the others from the last."""
        layer = layer_of(fault, self.report.layer)
        return (
            -self.suspects.get(fault, self.earlier.get(fault, 0.0) / 2),
            fault in SYMPTOMS,
            0 if layer is self.report.layer else len(Layer) - layer.rank,
            fault in self._absent,
            fault,
        )

    def _outcome(self, fault: str, standing: Sequence[Tested]) -> Outcome:
        own = next((entry for entry in [*standing, *self.tested] if entry.fault == fault), None)
        if own is None:
            return Outcome(
                fault, None, reason="; ".join([self.tester.untested.get(fault, NO_SWAP), *self._rest(standing)])
            )
        if own.open:
            return Outcome(fault, None, own.swap(), own.open)
        beside = tuple(
            entry.fault
            for entry in standing
            if own.kind.parts and entry.kind.name == own.kind.name and entry is not own
        )
        why = "" if standing else self.health.cannot_tell(own)
        reason = "; ".join(part for part in (why, self._reason(own, standing)) if part)
        open_ended = bool(why) and not (self.report.layer is Layer.TRAINING and self.health.lost())
        return Outcome(fault, None if why else own in standing, own.swap(), reason, beside, open_ended)

    def _reason(self, own: Tested, standing: Sequence[Tested]) -> str:
        parts = [*self._alone(own), *self._equivalents(own, standing)]
        if own not in standing and own.repaired and standing:
            parts.append(
                f"it helps too; the better explanation: {', '.join(dict.fromkeys(entry.kind.change for entry in standing))}"
            )
        if own in standing:
            parts += argue(
                self.subject, own.fault, [entry.fault for entry in self.tested if entry.repaired], self.report
            )
        parts += self._rest(standing)
        if not self.tester.bench.scale.full:
            parts.append(f"both arms on {self.tester.bench.scale}")
        return "; ".join(parts)

    def _rest(self, standing: Sequence[Tested]) -> list[str]:
        """What is known where nothing stands, in a target that is lost."""
        if standing or self.report.layer not in SEARCHING or not self.health.lost() or not self._what_remains:
            return []
        return [self._what_remains]

    def _alone(self, own: Tested) -> list[str]:
        """What each part of a set does alone."""
        single = {entry.kind.name: entry for entry in self.tester.known}
        numbers = [
            f"{part.change} {single[part.name].result.after:.3f}" for part in own.kind.parts if part.name in single
        ]
        return [f"only together; alone: {', '.join(numbers)}"] if numbers else []

    def _equivalents(self, own: Tested, standing: Sequence[Tested]) -> list[str]:
        """The other single changes that repair, the smallest first."""
        others = sorted(
            {
                entry.kind.name: entry.kind for entry in self.tester.known if entry.repaired and not entry.kind.parts
            }.values(),
            key=lambda kind: kind.weight,
        )
        names = [
            kind.change for kind in others if kind.name not in (own.kind.name, *(part.name for part in own.kind.parts))
        ]
        if own.kind.parts or not names:
            return []
        return (
            [f"also restored by: {', '.join(names)}"]
            if own in standing
            else [f"restored by: {', '.join(names)}"]
            if not standing
            else []
        )

    @functools.cached_property
    def _what_remains(self) -> str:
        """When nothing restores health: whether the same training learns labels that are known to be learnable."""
        kind = swaps()["clean_labels"]
        entry = self.tester.attempt("random_labels", kind, patient=False)
        if entry is None:
            return ""
        learns = entry.result.after >= CLEAN
        where = "the labels and inputs are to be looked at" if learns else "model and training are to be looked at"
        return f"no swap that was tried restores health; on clean labels the same training reaches {entry.result.after:.3f}: {where}"


def _bests(repairs: Sequence[Tested]) -> list[Tested]:
    """The repairs that help as much as the best of them."""
    return leaders(repairs, {}, frozenset())


def _better(entry: Tested, other: Tested) -> bool:
    return (entry.repaired, entry.result.gain) > (other.repaired, other.result.gain)


def acquitted(report: LayerReport) -> frozenset[str]:
    """The faults that a check of this report proves where they are, and did not find."""
    passed = [finding.check for finding in report.findings if finding.status is Status.PASS]
    return frozenset(
        fault
        for name in passed
        if name in REGISTRY
        for fault, weight in REGISTRY[name].detects.items()
        if weight >= PROOF
    ) - frozenset(suspected(report))
