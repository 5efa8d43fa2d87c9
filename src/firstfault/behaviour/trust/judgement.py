"""What the tests of trust say together: no sign, one family to look at, or gaming suspected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from firstfault.behaviour.asking import Asker, Generate
from firstfault.behaviour.evaluation import SuiteRun
from firstfault.behaviour.statistics import ALPHA, Change, Rate, holm
from firstfault.behaviour.suites import Suite, load_suite
from firstfault.behaviour.trust import of_behaviour, of_metric, of_scorer, of_test_set
from firstfault.behaviour.trust.material import Family, Material, Tested
from firstfault.target.bundled import own_or_shipped

TOO_GOOD = 0.97
"""A pass rate from which on they are run by themselves: test sets have 3.3 % wrong labels (Northcutt et al. 2021)."""
TOO_MUCH = 3.0
"""Standard errors of a gain from which on they are run: by chance one in 700 runs gains as much."""
FAMILIES_NEEDED = 2
"""One family may have a reason of its own (a fragile model, a suite with one right answer); two seldom have."""


def suspicious(rate: Rate, change: Change | None = None) -> bool:
    """Whether a score asks for the tests: it is near 1, or it rose by more than chance has it."""
    return rate.value >= TOO_GOOD or (change is not None and change.standard_errors >= TOO_MUCH)


@dataclass(frozen=True)
class Trust:
    """Every test with its p-value corrected by Holm over all that were run; those that were not say why."""

    suite: str
    tests: tuple[Tested, ...]
    corrected: tuple[float | None, ...]
    asked: int

    @property
    def significant(self) -> list[tuple[Tested, float]]:
        """The tests that an honest score would pass in 95 of 100 suites, the surest first."""
        pairs = zip(self.tests, self.corrected, strict=True)
        return sorted([(test, p) for test, p in pairs if p is not None and p <= ALPHA], key=lambda pair: pair[1])

    @property
    def families(self) -> list[Family]:
        """The families with a sign, the surest first."""
        return list(dict.fromkeys(test.family for test, _ in self.significant))

    @property
    def gaming_suspected(self) -> bool:
        """Whether two families speak against the score."""
        return len(self.families) >= FAMILIES_NEEDED

    @property
    def untested(self) -> bool:
        """Whether no test could be run."""
        return all(test.skipped for test in self.tests)

    @property
    def headline(self) -> str:
        """The result in a sentence."""
        seen = f"{sum(not test.skipped for test in self.tests)} of {len(self.tests)} tests could be run"
        if self.gaming_suspected:
            return f"trust in {self.suite}: gaming suspected, by {' and '.join(self.families)}; {seen}"
        if self.families:
            return f"trust in {self.suite}: look at the {self.families[0]}; one family alone is no suspicion; {seen}"
        return f"trust in {self.suite}: {'open' if self.untested else 'no sign of gaming'}; {seen}"

    @property
    def lines(self) -> list[str]:
        """The headline, what speaks against the score, and what was not tested."""
        told = [f"  {test.family}, {test.name}: {test.told}, p {p:.2g}" for test, p in self.significant]
        left = [f"{test.name} ({test.told})" for test in self.tests if test.skipped]
        return [self.headline, *told, *([f"  skipped: {'; '.join(left)}"] if left else [])]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "suite": self.suite,
            "gaming_suspected": self.gaming_suspected,
            "families": [family.value for family in self.families],
            "asked": self.asked,
            "tests": [
                {
                    "name": t.name,
                    "family": t.family.value,
                    "told": t.told,
                    "p": t.p,
                    "corrected": p,
                    "skipped": t.skipped,
                }
                for t, p in zip(self.tests, self.corrected, strict=True)
            ],
        }


def trust(
    run: SuiteRun,
    ask: Asker,
    *,
    opposite: Suite | None = None,
    twin: Suite | None = None,
    before: Generate | None = None,
    training: Sequence[str] = (),
    checkpoints: Sequence[tuple[float, float]] = (),
    log_prob: Callable[[str], float] | None = None,
) -> Trust:
    """Test the score of a suite that was run, with a model to ask again, and whatever else is known.

    The suite's own `opposite` and `twin` are used where none is given.

    Raises:
        TargetError: when the suite names an opposite or a twin that can't be read.
    """
    suite, began = run.suite, ask.budget.asked
    material = Material(
        run,
        ask,
        opposite or _named(suite, suite.opposite),
        twin or _named(suite, suite.twin),
        Asker(before) if before else None,
        training,
        checkpoints,
        log_prob,
    )
    tests = [test for family in (of_scorer, of_test_set, of_metric, of_behaviour) for test in family.tests(material)]
    corrected = iter(holm(np.array([test.p for test in tests if test.p is not None])))
    return Trust(
        suite.name,
        tuple(tests),
        tuple(None if test.skipped else float(next(corrected)) for test in tests),
        ask.budget.asked - began,
    )


def _named(suite: Suite, name: str | None) -> Suite | None:
    return None if name is None else replace(load_suite(own_or_shipped(name, suite.root, "behaviour")), opposite=None)
