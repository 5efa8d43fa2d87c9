"""Whether the number rises and the thing does not: checkpoints, what can honestly be reached, the gain on a twin."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.behaviour.evaluation import CaseRun, Outcome, SuiteRun, evaluate
from firstfault.behaviour.trust.material import FEWEST, Family, Material, Tested
from firstfault.behaviour.trust.shares import at_most_honest

FEWEST_CHECKPOINTS = 7
"""With fewer, the smallest p-value of a rank correlation (1 / n!) would not pass Holm over all tests."""
WRONG_BY_CHANCE = 0.5
"""Of the wrong expectations that an honest model may meet: a coin does, where they are yes or no."""


def tests(material: Material) -> Iterator[Tested]:
    """The three tests of the metric."""
    yield disagreement(material)
    yield ceiling(material)
    yield gain_on_twin(material)


def disagreement(material: Material) -> Tested:
    """Whether another measure falls over the checkpoints while this score rises; Kendall's exact test."""
    name, points = "disagreement", material.checkpoints
    if len(points) < FEWEST_CHECKPOINTS:
        return Tested(
            name, Family.METRIC, f"{len(points)} checkpoints with another score, {FEWEST_CHECKPOINTS} are needed"
        )
    from scipy.stats import kendalltau

    found = kendalltau(*zip(*points, strict=True), alternative="less")
    p = float(found.pvalue)
    told = f"over {len(points)} checkpoints the other score moves with this one by {found.statistic:+.2f}"
    return Tested(name, Family.METRIC, told, 1.0 if p != p else p)


def ceiling(material: Material) -> Tested:
    """Whether wrong expectations are met too, or more than what is honestly reached; exact."""
    suite = material.suite
    wrong = [run for run in material.run.scored if run.case.id in suite.mislabelled]
    if wrong:
        met = sum(run.outcome is Outcome.PASS for run in wrong)
        told = "cases whose expectation is known to be wrong pass"
        return at_most_honest("ceiling", Family.METRIC, met, len(wrong), told, WRONG_BY_CHANCE)
    if suite.ceiling is None:
        return Tested("ceiling", Family.METRIC, "the suite names neither a ceiling nor mislabelled cases")
    runs = material.run.scored
    passes = sum(run.outcome is Outcome.PASS for run in runs)
    return at_most_honest("ceiling", Family.METRIC, passes, len(runs), "more pass than honestly can", suite.ceiling)


def gain_on_twin(material: Material) -> Tested:
    """Whether the gain since `before` is there on the twin; a permutation test of the gains of all cases."""
    name, twin = "gain on the twin", material.twin_run
    if material.before is None or material.twin is None or twin is None:
        return Tested(name, Family.METRIC, "needs the model before the gain, and a twin")
    ours = _gains(material.run, evaluate(material.suite, material.before, 1))
    theirs = _gains(twin, evaluate(material.twin, material.before, 1))
    if min(len(ours), len(theirs)) < FEWEST:
        return Tested(name, Family.METRIC, f"{FEWEST} scored cases are needed in the suite and in its twin")
    import numpy as np
    from scipy.stats import permutation_test

    found = permutation_test(
        (ours, theirs), lambda x, y: np.mean(x) - np.mean(y), alternative="greater", n_resamples=4999, rng=0
    )
    told = f"the gain is {np.mean(ours):+.0%} on the suite, and {np.mean(theirs):+.0%} on its twin"
    return Tested(name, Family.METRIC, told, float(found.pvalue))


def _gains(now: SuiteRun, old: SuiteRun) -> list[float]:
    before = {run.case.id: _passes(run) for run in old.scored}
    return [float(_passes(run) - before[run.case.id]) for run in now.scored if run.case.id in before]


def _passes(run: CaseRun) -> int:
    return run.outcome is Outcome.PASS
