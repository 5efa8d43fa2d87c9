"""Several faults at once: the smallest set of swaps that restores health where no single one does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from firstfault.ablation.confirm.health import Health
from firstfault.ablation.confirm.paired_trials import Tested, Tester
from firstfault.ablation.swap import SwapKind, together
from firstfault.interrupts import pass_on
from firstfault.subject.subject import Subject
from firstfault.training.scores import least_effect

MOST_PARTS = 3
"""Parts of a set: each further one costs a trial of every candidate that is left."""
SURPLUS = 2.0
"""How many times the noise a gain must be that was searched for among many."""
Blame = Callable[[SwapKind], str | None]


class Sets:
    """Searches sets of swaps under the tester's budget.

    Many swaps are applied at once, and what is not needed is taken back in halves, quarters and ones (delta
    debugging, Zeller and Hildebrandt 2002); else the best partial repair grows by one swap at a time, to at most 3.
    While it looks, one seed decides; what is found is tested over all seeds. A set counts only where it reaches the
    mark of a simple model, and every part of it is needed by more than the noise.

    Args:
        blame: names the fault that a swap would be evidence for, None for one that must not be blamed.
    """

    def __init__(self, tester: Tester, health: Health, blame: Blame) -> None:
        self.tester, self.health, self.blame, self.rules = tester, health, blame, tester.rules

    def among(self, kinds: Sequence[SwapKind]) -> list[Tested]:
        """The smallest set among many swaps, the most likely first: the least likely are taken back first."""
        kept = list(kinds)
        if self.health.mark is None or not kept or not self.promises(kept):
            return []
        size = len(kept) // 2
        while size:
            end = len(kept)
            while end > 0:
                start = max(0, end - size)
                rest = kept[:start] + kept[end:]
                if rest and self.promises(rest):
                    kept = rest
                end = start
            size //= 2
        whole = self._attempt(kept)
        return self._smallest(whole) if whole is not None and self._heals(whole) else []

    def grown(self, base: Tested | None, candidates: Sequence[SwapKind]) -> list[Tested]:
        """The smallest set that grows from a partial repair."""
        if base is None or self.health.mark is None or not combines(base.kind):
            return []
        for _ in range(MOST_PARTS - 1):
            best: Tested | None = None
            for kind in candidates:
                entry = (
                    self._attempt([*(base.kind.parts or (base.kind,)), kind]) if self._adds(base.kind, kind) else None
                )
                if entry is not None and self._heals(entry):
                    return self._smallest(entry)
                if entry is not None and (best is None or entry.result.gain > best.result.gain):
                    best = entry
            if best is None or best.result.gain <= base.result.gain + best.result.noise:
                return []
            base = best
        return []

    def _adds(self, base: SwapKind, kind: SwapKind) -> bool:
        taken = base.parts or (base,)
        faults = {self.blame(part) for part in taken}
        return (
            combines(kind)
            and kind.slot not in {part.slot for part in taken}
            and self.blame(kind) not in {*faults, None}
        )

    def _attempt(self, kinds: Sequence[SwapKind]) -> Tested | None:
        kind = together(kinds) if len(kinds) > 1 else kinds[0]
        faults = dict.fromkeys(self.blame(part) or part.name for part in kinds)
        return self.tester.attempt(" and ".join(faults), kind, aim=self.health.mark)

    def promises(self, kinds: Sequence[SwapKind]) -> bool:
        """Whether the first seed reaches the mark."""
        kind = together(kinds) if len(kinds) > 1 else kinds[0]
        seen = self.tester.glance(kind)
        return (
            seen is not None
            and self.health.mark is not None
            and seen.gain > 0
            and seen.after >= self.health.mark - seen.noise
        )

    def _heals(self, entry: Tested) -> bool:
        return (
            entry.repaired
            and self.health.restored(entry, unknown=False)
            and not self.rules.decides("surplus", short_of_surplus(entry))
        )

    def _smallest(self, entry: Tested) -> list[Tested]:
        """The set without what it does not need, once for each fault in it.

        Nothing where a part can't be shown to be needed.
        """
        smaller: Tested | None = entry
        while smaller is not None:
            entry, smaller = smaller, None
            for part in sorted(entry.kind.parts, key=lambda part: -part.size):
                rest = self._attempt([other for other in entry.kind.parts if other is not part])
                if rest is None:
                    return []
                if self._heals(rest):
                    smaller = rest
                    break
                loss, noise = entry.result.after - rest.result.after, max(rest.result.noise, entry.result.noise)
                if self.rules.decides("every_part_needed", loss <= noise):
                    return []
        parts = entry.kind.parts or (entry.kind,)
        return [
            self.tester.for_fault(entry, fault) for fault in dict.fromkeys(map(self.blame, parts)) if fault is not None
        ]


def partial(entries: Iterable[Tested]) -> Tested | None:
    """The best gain that is more than the noise, of a swap that can be a part of a set."""
    helping = [
        entry
        for entry in entries
        if combines(entry.kind)
        and entry.result.gain > max(entry.result.noise, least_effect(entry.metric, [entry.result.before]))
    ]
    return max(helping, key=lambda entry: entry.result.gain, default=None)


def short_of_surplus(entry: Tested) -> bool:
    """Whether a gain is less than what a search must find."""
    return entry.result.gain < SURPLUS * entry.result.noise


def combines(kind: SwapKind) -> bool:
    """Whether a swap can be a part of a set."""
    return not (kind.same_validation or kind.from_guessing or kind.replaces_loop)


def one_of_each(subject: Subject, kinds: Iterable[SwapKind], blame: Blame) -> list[SwapKind]:
    """The swaps that can be applied together, in their order: one of a slot, one for a fault."""
    chosen: dict[str, SwapKind] = {}
    blamed: set[str] = set()
    for kind in kinds:
        fault = blame(kind)
        if (
            combines(kind)
            and kind.slot not in chosen
            and fault is not None
            and fault not in blamed
            and _applies(subject, kind)
        ):
            chosen[kind.slot] = kind
            blamed.add(fault)
    return list(chosen.values())


def _applies(subject: Subject, kind: SwapKind) -> bool:
    try:
        kind.apply(subject)
    except BaseException as error:  # its own trial says why
        pass_on(error)
        return False
    return True
