"""A suite that was run: each case so many times, whether it passes, and the rate with its interval."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from firstfault.behaviour.asking import Answer, Asker
from firstfault.behaviour.statistics import Rate, Stratum, at_least, at_most, clustered_rate, labelled_rate
from firstfault.behaviour.suites import Case, Suite

HALF = 0.5
"""A case passes or fails when the bound of its rate is beyond the middle: it does so more often than not."""


class Outcome(StrEnum):
    """What came of a case."""

    PASS = "pass"
    FLAKY = "flaky"
    FAIL = "fail"
    UNSCORED = "unscored"


def outcome_of(verdicts: tuple[bool | None, ...]) -> Outcome:
    """Pass or fail where all runs agree, or the exact 95 % bound of the rate lies beyond ½; flaky between.

    An unscored run is never a pass, and no failure. From 5 runs on, unanimous ones lie beyond ½ by themselves.
    """
    passes, n = sum(verdict is True for verdict in verdicts), len(verdicts)
    fails = sum(verdict is False for verdict in verdicts)
    if passes + fails == 0:
        return Outcome.UNSCORED
    if passes == n or at_least(passes, n) > HALF:
        return Outcome.PASS
    if fails == n or at_most(n - fails, n) < HALF:
        return Outcome.FAIL
    return Outcome.FLAKY if passes and fails else Outcome.UNSCORED


@dataclass(frozen=True)
class CaseRun:
    """A case, its answers, and the verdict on each."""

    case: Case
    answers: tuple[Answer, ...]
    verdicts: tuple[bool | None, ...]

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        return outcome_of(self.verdicts)

    @property
    def first(self) -> str | None:
        """The first answer that was scored, by which people label it."""
        return next((a.text for a, v in zip(self.answers, self.verdicts, strict=True) if v is not None), None)

    @property
    def note(self) -> str:
        """What is told of it, without a word of prompt or answer."""
        problem = next((answer.problem for answer in self.answers if answer.problem), "")
        return problem or f"{len(self.answers[0].text or '')} characters answered"


@dataclass(frozen=True)
class SuiteRun:
    """All cases of a suite as they were run, with people's labels by the digest of an answer."""

    suite: Suite
    cases: tuple[CaseRun, ...]
    labels: Mapping[str, bool]

    @property
    def scored(self) -> tuple[CaseRun, ...]:
        """Those of which something is known."""
        return tuple(run for run in self.cases if run.outcome is not Outcome.UNSCORED)

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many there are of each outcome."""
        outcomes = [run.outcome for run in self.cases]
        return {outcome: outcomes.count(outcome) for outcome in Outcome}

    @property
    def rate(self) -> Rate:
        """The share of scored cases that pass, by the scorer's word; a flaky one does not pass."""
        runs = self.scored
        return clustered_rate([run.outcome is Outcome.PASS for run in runs], [run.case.cluster for run in runs])

    @property
    def below(self) -> bool:
        """Whether the share is below the suite's rate."""
        return bool(self.scored) and self.rate.value < self.suite.pass_rate

    @property
    def corrected(self) -> Rate | None:
        """The share that people would pass, from their labels; None where there are none."""
        known = [(run.outcome is Outcome.PASS, self.labels.get(digest_of(run))) for run in self.scored]
        if all(label is None for _, label in known):
            return None
        return labelled_rate([_stratum(known, verdict) for verdict in (True, False)])

    @property
    def silence(self) -> str:
        """Why the first case that is unscored is so: no answer, or a judge of the user's that gave no verdict on it."""
        for run in (each for each in self.cases if each.outcome is Outcome.UNSCORED):
            scorer = self.suite.scorer(run.case)
            for answer, verdict in zip(run.answers, run.verdicts, strict=True):
                if verdict is None and answer.text is None:
                    return answer.problem
                if verdict is None and scorer.is_judge:
                    return scorer.silence
        return ""

    @property
    def headline(self) -> str:
        """The result in a sentence: rate, interval, and what is not in it."""
        counts, n = self.counts, len(self.scored)
        text = f"{self.suite.name}: {counts[Outcome.PASS]} of {n} cases pass, {self.rate}"
        for outcome in (Outcome.FLAKY, Outcome.UNSCORED):
            if counts[outcome]:
                text += f"; {counts[outcome]} {outcome}"
        text += f" ({self.silence})" if self.silence else ""
        corrected = self.corrected
        if corrected is not None:
            text += (
                f"; people would pass {corrected} ({corrected.how})" if corrected.value >= 0 else f"; {corrected.how}"
            )
        return text

    def to_json(self) -> dict[str, object]:
        """Plain values, without a word of prompts or answers."""
        return {
            "suite": self.suite.name,
            "rate": self.rate.to_json(),
            "corrected": self.corrected.to_json() if self.corrected else None,
            "counts": {outcome.value: count for outcome, count in self.counts.items()},
            "must_reach": self.suite.pass_rate,
            "scorers": {
                name: {"version": each.version, "error": each.error} for name, each in self.suite.scorers.items()
            },
        }


def _stratum(known: list[tuple[bool, bool | None]], verdict: bool) -> Stratum:
    labels = [label for passed, label in known if passed is verdict]
    said = [label for label in labels if label is not None]
    return Stratum(len(labels), len(said), sum(said))


def digest_of(run: CaseRun) -> str:
    """What a label is kept under: the case and this very answer."""
    return hashlib.sha256(
        f"{run.case.id}\0{run.case.asked}\0{run.first}".encode("utf-8", "backslashreplace")
    ).hexdigest()


def evaluate(suite: Suite, ask: Asker, runs: int | None = None, labels: Mapping[str, bool] | None = None) -> SuiteRun:
    """Run every case of a suite so many times (the suite's `runs`), and score each answer.

    All cases are asked once before any is asked again, so that a budget that ends leaves some of each.
    """
    turns = [
        [ask.scored(case.asked, functools.partial(suite.score, case)) for case in suite.cases]
        for _ in range(runs or suite.runs)
    ]
    return SuiteRun(suite, tuple(map(_run, suite.cases, zip(*turns, strict=True))), labels or {})


def _run(case: Case, scored: Sequence[tuple[Answer, bool | None]]) -> CaseRun:
    """A case that the budget left out after its first run was run less often."""
    made = [each for each in scored if not each[0].unasked] or scored[:1]
    return CaseRun(case, tuple(answer for answer, _ in made), tuple(verdict for _, verdict in made))
