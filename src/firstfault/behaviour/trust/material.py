"""What the tests of trust work on: a suite that was run, a model to ask again, and whatever else is known."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from firstfault.behaviour.asking import Answer, Asker
from firstfault.behaviour.evaluation import CaseRun, Outcome, SuiteRun, evaluate
from firstfault.behaviour.suites import Case, Suite


class Family(StrEnum):
    """What may be gamed."""

    SCORER = "scorer"
    TEST_SET = "test set"
    METRIC = "metric"
    BEHAVIOUR = "behaviour"


@dataclass(frozen=True)
class Tested:
    """One test: its p-value under an honest score, or why it was not run, and what was seen."""

    name: str
    family: Family
    told: str
    p: float | None = None

    @property
    def skipped(self) -> bool:
        """Whether it could not be run."""
        return self.p is None


FEWEST = 5
"""Cases below which no test is run: even if all were lost, 0.2 ** 4 would not pass Holm's .05 / 17."""


@dataclass
class Material:
    """A suite's run, the model, and what else is known; what is None or empty leaves its tests out.

    Attributes:
        opposite, twin: suites that the model is asked too.
        before: the model before the gain, by its function prompt -> text.
        training: texts that the model was trained on.
        checkpoints: for each of several checkpoints this score, and another one that should rise with it.
        log_prob: the log-probability of a text under the model.
    """

    run: SuiteRun
    ask: Asker
    opposite: Suite | None = None
    twin: Suite | None = None
    before: Asker | None = None
    training: Sequence[str] = ()
    checkpoints: Sequence[tuple[float, float]] = ()
    log_prob: Callable[[str], float] | None = None
    _answers: dict[str, Answer] = field(default_factory=dict, repr=False)

    @property
    def suite(self) -> Suite:
        """The suite in question."""
        return self.run.suite

    @property
    def rate(self) -> float:
        """The score in question; 0 where nothing was scored."""
        return self.run.rate.value if self.run.scored else 0.0

    @functools.cached_property
    def passing(self) -> list[CaseRun]:
        """The cases that make the score."""
        return [run for run in self.run.cases if run.outcome is Outcome.PASS]

    @functools.cached_property
    def opposite_run(self) -> SuiteRun | None:
        """The opposite suite, asked once."""
        return evaluate(self.opposite, self.ask, 1) if self.opposite else None

    @functools.cached_property
    def twin_run(self) -> SuiteRun | None:
        """The twin, asked once."""
        return evaluate(self.twin, self.ask, 1) if self.twin else None

    def verdict(self, case: Case, prompt: str) -> bool | None:
        """Whether the answer to another wording of a case passes; None where that can't be told."""
        if prompt not in self._answers:
            self._answers[prompt] = self.ask(prompt)
        return self._answers[prompt].judged(lambda text: self.suite.scorer(case)(text, case.wanted, case.asked))

    def again(self, changed: Iterable[tuple[CaseRun, Case, str]]) -> list[tuple[bool, bool]]:
        """Whether each case passed and passes in another wording, of those that are scored both times."""
        pairs = [(run.outcome, self.verdict(case, prompt)) for run, case, prompt in changed]
        return [(old is Outcome.PASS, new) for old, new in pairs if old is not Outcome.UNSCORED and new is not None]
