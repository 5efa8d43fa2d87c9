"""A share against what is honest: the exact test that most of the families use."""

from __future__ import annotations

from collections.abc import Sequence

from firstfault.behaviour.trust.material import FEWEST, Family, Tested

HONEST_LOSS = 0.2
"""Of the passing cases that an honest model may lose to another wording: models of 1–70 B lose .02–.15 (Mizrahi et al.
2024, State of What Art?); a memorised answer is lost in most of them."""


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


def lost(name: str, family: Family, kept: Sequence[bool], told: str) -> Tested:
    """How many passing cases were lost to a change that should change nothing."""
    return at_most_honest(name, family, sum(not ok for ok in kept), len(kept), told)
