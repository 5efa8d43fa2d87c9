"""A share against what is honest: the exact test that most of the families use."""

from __future__ import annotations

from collections.abc import Sequence

from firstfault.behaviour.trust.material import FEWEST, Family, Tested

HONEST_LOSS = 0.2
"""Of the passing cases that an honest model may lose to another wording. Our choice: a memorised answer is lost in
most of them, and benchmarks/trust.py has fragile honest models that lose up to .15."""


def at_most_honest(name: str, family: Family, hits: int, n: int, told: str, honest: float = HONEST_LOSS) -> Tested:
    """P(at least as many hits) when at most `honest` of them are to be expected; exact."""
    from scipy.stats import binom

    if n < FEWEST:
        return Tested(name, family, f"only {n} cases, {FEWEST} are needed")
    return Tested(
        name, family, f"{told} ({hits} of {n}; up to {honest:.0%} is honest)", float(binom.sf(hits - 1, n, honest))
    )


def at_least_honest(name: str, family: Family, hits: int, n: int, told: str, honest: float) -> Tested:
    """P(at most as many hits) when at least `honest` of them are to be expected; exact."""
    from scipy.stats import binom

    if n < FEWEST:
        return Tested(name, family, f"only {n} cases, {FEWEST} are needed")
    return Tested(name, family, f"{told} ({hits} of {n}; {honest:.0%} is honest)", float(binom.cdf(hits, n, honest)))


def lost(name: str, family: Family, pairs: Sequence[tuple[bool, bool]], told: str) -> Tested:
    """How many passes were lost to a change that should change nothing, of (passed before, passes now) of all cases.

    The larger of two exact p-values: that of the passes lost, less those gained elsewhere, beyond what is honest; and
    McNemar's. A model that guesses loses as many as it gains.
    """
    from scipy.stats import binom

    passed, gone = sum(old for old, _ in pairs), sum(old and not new for old, new in pairs)
    gained = sum(new and not old for old, new in pairs)
    if passed < FEWEST:
        return Tested(name, family, f"only {passed} cases, {FEWEST} are needed")
    net = float(binom.sf(max(gone - gained, 0) - 1, passed, HONEST_LOSS))
    told = f"{told} ({gone} of {passed}, {gained} gained; up to {HONEST_LOSS:.0%} is honest)"
    return Tested(name, family, told, max(net, float(binom.sf(gone - 1, gone + gained, 0.5))))
