"""Kept failures asked again: of a version of their model, up to five times, and where they stand by that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firstfault.behaviour.asking import Asker
from firstfault.behaviour.failures.reduction import OF, OFTEN
from firstfault.behaviour.judges import scorer_of
from firstfault.behaviour.store.failures import FailureStore
from firstfault.behaviour.store.record import Failure, Kind, Standing


@dataclass(frozen=True)
class Asked:
    """What came of asking a failure again: how often it failed and passed, and the last answer that failed."""

    failed: int
    passed: int
    answer: str = ""
    of: int = OF

    @property
    def fails(self) -> bool:
        """Whether it failed 3 of 5 times, or once where one asking is enough."""
        return self.failed >= min(OFTEN, self.of)

    @property
    def passes(self) -> bool:
        """Whether it passed so often."""
        return self.passed >= min(OFTEN, self.of)

    def __str__(self) -> str:
        return f"failed {self.failed} and passed {self.passed} of up to {self.of} askings"


@dataclass(frozen=True)
class Replayed:
    """A failure that was asked of a version, and where it stood before and stands now."""

    failure: Failure
    before: Standing
    asked: Asked

    @property
    def came_back(self) -> bool:
        """Whether it had been fixed, and fails again."""
        return self.before is Standing.FIXED and self.failure.standing is Standing.BACK

    def __str__(self) -> str:
        now = self.failure.standing.value
        moved = now if self.failure.standing is self.before else f"{self.before.value} → {now}"
        return f"{self.failure.id[:8]} {self.failure.name}: {moved}, {self.asked}"


def ask_again(failure: Failure, ask: Asker) -> Asked:
    """Ask a failure up to five times, until 3 answers pass or 3 fail; what can't be scored is neither.

    Raises:
        TargetError: when its scorer can't be found any more.
    """
    score = scorer_of(failure.scorer, Path(failure.scorer_root or "."))
    failed = passed = 0
    last = ""
    for _ in range(OF):
        answer = ask(failure.asked)
        verdict = answer.judged(lambda text: score(text, failure.expect, failure.asked))
        failed, passed = failed + (verdict is False), passed + (verdict is True)
        last = (answer.text or answer.problem) if verdict is False else last
        if OFTEN in (failed, passed):
            break
    return Asked(failed, passed, last)


def standing_after(failure: Failure, asked: Asked) -> Standing:
    """Where a failure stands when it was asked again."""
    if asked.fails:
        return Standing.BACK if failure.standing is Standing.FIXED else _reproduced(failure)
    if asked.passes and failure.standing in (Standing.OPEN, Standing.BACK):
        return Standing.FIXED
    return failure.standing


def _reproduced(failure: Failure) -> Standing:
    return Standing.OPEN if failure.standing is Standing.CANDIDATE else failure.standing


def replay(store: FailureStore, target: str, ask: Asker, version: str, again: bool = False) -> list[Replayed]:
    """Ask the failures of a target of this version, where another was asked last, or all of them `again`."""
    found = []
    for failure in store.all(Kind.LANGUAGE_MODEL):
        if failure.target != target or failure.standing is Standing.DISMISSED:
            continue
        if not again and store.asked_last(failure) == version:
            continue
        asked = ask_again(failure, ask)
        if not asked.failed + asked.passed:
            continue  # the budget is spent, or nothing could be scored
        found.append(noted(store, failure, version, asked))
    return found


def noted(store: FailureStore, failure: Failure, version: str, asked: Asked) -> Replayed:
    """Keep what came of asking a version, and where the failure stands by that."""
    store.note(failure, version, asked.failed, asked.passed)
    now = store.change(failure, standing=standing_after(failure, asked))
    return Replayed(now, failure.standing, asked)
