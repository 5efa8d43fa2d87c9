"""Which repairs stand: as good as the best, of the fault suspected most, and of no fault that but looks like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from firstfault.ablation.confirm.health import Health
from firstfault.ablation.confirm.look_alikes import ruled_out
from firstfault.ablation.confirm.optimizer import refuted_optimizer
from firstfault.ablation.confirm.paired_trials import Tested
from firstfault.ablation.confirm.rules import Rules


@dataclass(frozen=True)
class Choice:
    """What is known when one repair is chosen over another: the weights of the suspects, and what structure proves."""

    suspects: Mapping[str, float]
    proven: frozenset[str]
    health: Health
    rules: Rules

    def standing(self, tested: Sequence[Tested]) -> list[Tested]:
        """The repairs that stand."""
        refuted = self._look_alikes(tested) | refuted_optimizer(tested, self.suspects, self.health, self.rules)
        left = [entry for entry in tested if entry.fault not in refuted]
        equal = self._most_suspected(best_of(left, self.rules))
        return [entry for entry in left if entry.repaired and (entry in equal or self._proven(entry.fault))]

    def _look_alikes(self, tested: Sequence[Tested]) -> frozenset[str]:
        """The faults of equally good repairs that the evidence rules out as the cause."""
        found = ruled_out(self.health.subject, {entry.fault for entry in best_of(tested, self.rules)}, self.rules)
        return frozenset(fault for fault in found if not self._proven(fault))

    def _most_suspected(self, equal: Sequence[Tested]) -> list[Tested]:
        most = max((self.suspects.get(entry.fault, 0.0) for entry in equal), default=0.0)
        return [
            entry
            for entry in equal
            if not self.rules.decides("most_suspected", self.suspects.get(entry.fault, 0.0) < most - 1e-9)
        ]

    def _proven(self, fault: str) -> bool:
        return self.rules.decides("proof_stands", fault in self.proven)


def best_of(tested: Sequence[Tested], rules: Rules) -> list[Tested]:
    """The repairs that help as much as the best of them."""
    repaired = [entry for entry in tested if entry.repaired]
    best = max(repaired, key=lambda entry: entry.result.gain, default=None)
    return [entry for entry in repaired if best is None or not rules.decides("best_gain", not _equal(entry, best))]


def _equal(entry: Tested, best: Tested) -> bool:
    return entry.result.gain >= best.result.gain - max(entry.result.spread, best.result.spread)
