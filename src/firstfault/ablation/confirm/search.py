"""The search where no suspect's repair restores health: for a set of swaps, a single one, a partial one that grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from firstfault.ablation.confirm.blame import Blame
from firstfault.ablation.confirm.choice import best_of
from firstfault.ablation.confirm.health import Health
from firstfault.ablation.confirm.multi_fault import Sets, one_of_each, partial, short_of_surplus
from firstfault.ablation.confirm.optimizer import FIRST_STEP_SIZES
from firstfault.ablation.confirm.paired_trials import Tested, Tester
from firstfault.ablation.swap import Size, SwapKind

DEAR = frozenset({"longer", "much_longer", "range_test_from_above", "range_test_from_below"})
"""Swaps that cost more than a training of the target: only a suspicion calls for them."""
KEPT_BACK = 0.7
"""The share of the budget that single swaps may use where something helps in part: a set of two costs about as many."""


class Search:
    """Looks beyond the suspects. `tested` are all trials that count as evidence, those of the search among them."""

    def __init__(
        self, tester: Tester, health: Health, blame: Blame, suspects: Mapping[str, float], proven: frozenset[str]
    ) -> None:
        self.tester, self.health, self.blame, self.suspects, self.proven = tester, health, blame, suspects, proven
        self.rules, self.sets = tester.rules, Sets(tester, health, blame.of)
        self.tested: list[Tested] = []

    def beyond(self, tested: Sequence[Tested], standing: list[Tested]) -> list[Tested]:
        """The repairs that stand after the search; before it, of all that was `tested`, those in `standing` did."""
        self.tested = list(tested)
        kinds = self._all_at_once()
        if self.proven and self.rules.decides("proof_explains_all", lambda: self._without_proof(kinds)):
            return standing
        found = self.sets.among(kinds) if self.rules.decides("all_at_once") else []
        if not found and not self.rules.decides("no_single_beside_proof", bool(self.proven)):
            singles = self._singles() if self.rules.decides("singles") else []
            self.tested += singles
            standing = best_of([*standing, *singles[:1]], self.rules)
        if not found and not self._cured(standing) and self.rules.decides("grown_sets"):
            found = self.sets.grown(self._stem(standing), [kind for _, kind in self.blame.candidates()])
        if not found or self.rules.decides("proof_is_in", self._lacks_proof(found)):
            return standing
        self.tested = [*found, *self.tested]
        return [*found, *(entry for entry in standing if entry.fault in self.proven)]

    def _cured(self, standing: Sequence[Tested]) -> bool:
        return any(self.health.restored(entry, unknown=True) for entry in standing)

    def _without_proof(self, kinds: Sequence[SwapKind]) -> bool:
        """Whether health comes back without the repair of what is proven."""
        return self.sets.promises([kind for kind in kinds if self.blame.of(kind) not in self.proven])

    def _lacks_proof(self, found: Sequence[Tested]) -> bool:
        return bool(self.proven) and not self.proven & {entry.fault for entry in found}

    def _all_at_once(self) -> list[SwapKind]:
        """Known-good parts for everything that may be blamed, the most likely first."""
        pairs = self.blame.candidates()
        order = {kind.name: number for number, (_, kind) in enumerate(pairs)}
        kinds = [kind for fault, kind in pairs if not self.rules.decides("small_parts", self._is_large(fault, kind))]
        chosen = one_of_each(self.tester.bench.subject, sorted(kinds, key=self._promise), self.blame.of)
        return sorted(chosen, key=lambda kind: order[kind.name])

    def _is_large(self, fault: str, kind: SwapKind) -> bool:
        return fault not in self.suspects and (kind.size >= Size.PART or kind.name in DEAR)

    def _promise(self, kind: SwapKind) -> tuple[float, int]:
        """What the swaps of one slot or fault are ordered by: a set takes the first."""
        gain = max((entry.result.gain for entry in self.tester.known if entry.kind.name == kind.name), default=0.0)
        usual = kind.name in FIRST_STEP_SIZES and self.rules.decides("usual_rate")
        return (
            -gain if self.rules.decides("helpful_first", gain > 0) else 0.0,
            FIRST_STEP_SIZES.index(kind.name) if usual else len(FIRST_STEP_SIZES),
        )

    def _stem(self, standing: Sequence[Tested]) -> Tested | None:
        """What a set grows from: the repair of what structure proves, else the best partial repair."""
        proven = [entry for entry in self.tested if entry.fault in self.proven]
        return (
            partial(standing)
            or max(proven, key=lambda entry: entry.result.gain, default=None)
            or partial(self.tester.known)
        )

    def _singles(self) -> list[Tested]:
        """The repairs outside the suspects, best first."""
        found: list[Tested] = []
        for fault, kind in self.blame.candidates():
            if self.rules.decides("kept_back", self._keeps_back):
                break
            entry = self.tester.attempt(fault, kind)
            if entry is None or not entry.repaired or self.rules.decides("surplus", short_of_surplus(entry)):
                continue
            found.append(entry)
            if self.rules.decides("single_cure", self.health.restored(entry, unknown=False)):
                break
        return sorted(found, key=lambda entry: -entry.result.gain)

    def _keeps_back(self) -> bool:
        return self.tester.budget.spent > KEPT_BACK and partial(self.tester.known) is not None
