"""What is said of each suspect after its trials: confirmed, refuted or untested, and why."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

from firstfault.ablation.confirm.health import Health
from firstfault.ablation.confirm.look_alikes import argue
from firstfault.ablation.confirm.paired_trials import Tested, Tester
from firstfault.ablation.swap import swaps
from firstfault.finding import Layer, LayerReport
from firstfault.verdict import Outcome

SEARCHING = (Layer.MODEL, Layer.TRAINING)
"""The layers whose suspicions start a search beyond the suspects."""
NO_SWAP = "no swap undoes it"
RATES = frozenset({"learning_rate_too_high", "learning_rate_too_low"})
CLEAN = 0.8
"""The score on clean labels from which on a training learns them: they are separable, so that a sound one nears 1."""


class Telling:
    """Makes the outcomes of a confirmation from all that was `tested` and those of it that are `standing`."""

    def __init__(
        self,
        report: LayerReport,
        tester: Tester,
        health: Health,
        tested: Sequence[Tested],
        standing: Sequence[Tested],
        spared: Collection[str],
    ) -> None:
        self.spared = spared
        self.report, self.tester, self.health, self.rules = report, tester, health, tester.rules
        self.tested, self.standing = tested, standing

    def outcome(self, fault: str) -> Outcome:
        """The outcome of one fault."""
        own = next((entry for entry in [*self.standing, *self.tested] if entry.fault == fault), None)
        if own is None and fault in self.spared:
            return self._left_to_rates(fault)
        if own is None:
            return Outcome(fault, None, reason="; ".join([self.tester.untested.get(fault, NO_SWAP), *self._rest()]))
        if own.open:
            return Outcome(fault, None, own.swap(), own.open)
        why = "" if self.standing else self.health.cannot_tell(own)
        confirmed = None if why else own in self.standing
        reason = "; ".join(part for part in (why, self._reason(own)) if part)
        return Outcome(
            fault, confirmed, own.swap(), reason, self._beside(own), bool(why) and not self._keeps_its_weight()
        )

    def _left_to_rates(self, fault: str) -> Outcome:
        """An optimizer whose repair would be one of its rate falls with the rates that were tried."""
        tried = [entry for entry in self.tested if entry.fault in RATES and not entry.open]
        refuted = bool(tried) and not self.standing and not self.health.lost()
        return Outcome(
            fault, False if refuted else None, reason=self.tester.untested.get(fault, NO_SWAP), undecided=not refuted
        )

    def _keeps_its_weight(self) -> bool:
        return self.rules.decides(
            "lost_keeps_its_weight", lambda: self.report.layer is Layer.TRAINING and self.health.lost()
        )

    def _beside(self, own: Tested) -> tuple[str, ...]:
        """The faults that had to be undone together with this one."""
        if not own.kind.parts:
            return ()
        return tuple(entry.fault for entry in self.standing if entry.kind.name == own.kind.name and entry is not own)

    def _reason(self, own: Tested) -> str:
        parts = [*self._alone(own), *self._equivalents(own)]
        if own not in self.standing and own.repaired and self.standing:
            better = ", ".join(dict.fromkeys(entry.kind.change for entry in self.standing))
            parts.append(f"it helps too; the better explanation: {better}")
        if own in self.standing:
            repaired = [entry.fault for entry in self.tested if entry.repaired]
            parts += argue(self.tester.bench.subject, own.fault, repaired, self.report)
        parts += self._rest()
        if not self.tester.bench.scale.full:
            parts.append(f"both arms on {self.tester.bench.scale}")
        return "; ".join(parts)

    def _rest(self) -> list[str]:
        """What is known where nothing stands, in a target that is lost."""
        if self.standing or self.report.layer not in SEARCHING or not self.health.lost() or not self._what_remains:
            return []
        return [self._what_remains]

    def _alone(self, own: Tested) -> list[str]:
        """What each part of a set does alone."""
        single = {entry.kind.name: entry.result.after for entry in self.tester.known}
        numbers = [f"{part.change} {single[part.name]:.3f}" for part in own.kind.parts if part.name in single]
        return [f"only together; alone: {', '.join(numbers)}"] if numbers else []

    def _equivalents(self, own: Tested) -> list[str]:
        """The other single changes that repair, the smallest first."""
        if own.kind.parts or (self.standing and own not in self.standing):
            return []
        repairs = {entry.kind.name: entry.kind for entry in self.tester.known if entry.repaired}
        others = [kind for kind in repairs.values() if not kind.parts and kind.name != own.kind.name]
        names = ", ".join(kind.change for kind in sorted(others, key=lambda kind: kind.weight))
        return [f"{'also ' if own in self.standing else ''}restored by: {names}"] if names else []

    @functools.cached_property
    def _what_remains(self) -> str:
        """When nothing restores health: whether the same training learns labels that are known to be learnable."""
        if not self.rules.decides("clean_labels_tell"):
            return ""
        entry = self.tester.attempt("random_labels", swaps()["clean_labels"])
        if entry is None:
            return ""
        after = entry.result.after
        where = "the labels and inputs" if after >= CLEAN else "model and training"
        return (
            f"no swap that was tried restores health; on clean labels the same training reaches {after:.3f}: "
            f"{where} are to be looked at"
        )
