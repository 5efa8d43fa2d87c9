"""Rates with their intervals, corrected by people's labels, and compared in pairs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array

LEVEL = 0.95
"""Of every interval: the customary one, and the nominal one of benchmarks/scorer_intervals.py."""
ALPHA = 1 - LEVEL
"""What is risked by a test, after Holm over all that are looked at together."""
POWER = 0.8
"""With which a difference is to be found, where a needed number of cases is told (Cohen 1988)."""


@dataclass(frozen=True)
class Rate:
    """A share of `n` with its interval; `how` says what the interval is made of. NaN of nothing."""

    value: float
    low: float
    high: float
    n: int
    how: str = "Wilson"

    def __str__(self) -> str:
        if not self.n:
            return "no rate of nothing"
        return f"{self.value:.0%}" + (f" [{self.low:.0%}, {self.high:.0%}]" if self.low < self.high else "")

    def to_json(self) -> dict[str, float | int | str | None]:
        """Plain values; None for what there is not."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high")}
        plain = {name: None if math.isnan(number) else round(number, 6) for name, number in numbers.items()}
        return {**plain, "n": self.n, "how": self.how}


NOTHING = Rate(math.nan, 0.0, 1.0, 0, "none")


def wilson(hits: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of `hits` in `n`, which need not be whole where `n` is an effective number.

    Source: Wilson 1927; Brown, Cai, DasGupta 2001.
    """
    from scipy.stats import norm

    if n <= 0:
        return 0.0, 1.0
    z, p = float(norm.isf((1 - level) / 2)), hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(max(p * (1 - p), 0.0) / n + z * z / (4 * n * n))
    return (max(middle - half, 0.0) if p > 0 else 0.0), (min(middle + half, 1.0) if p < 1 else 1.0)


def rate_of(passes: Sequence[bool]) -> Rate:
    """The share of independent cases that pass, with Wilson's interval."""
    n = len(passes)
    return Rate(sum(passes) / n, *wilson(sum(passes), n), n) if n else NOTHING


def clustered_rate(passes: Sequence[bool], clusters: Sequence[Hashable]) -> Rate:
    """The share that pass, where the cases of one cluster (a template, a scenario) rise and fall together.

    Wilson's interval at the effective number of cases: n over the design effect of the cluster-robust variance, less
    for few clusters (t in place of z). Where no case differs, as many as there are clusters.

    Source: Korn and Graubard 1998; Miller 2024, Adding Error Bars to Evals.
    """
    names, n = list(dict.fromkeys(clusters)), len(passes)
    if len(names) == n or not n:
        return rate_of(passes)
    p, enough = sum(passes) / n, effective_number(passes, clusters)
    if len(names) == 1:
        return Rate(p, *wilson(p, 1.0), n, "one template: as good as one case")
    return Rate(p, *wilson(p * enough, enough), n, f"cluster-robust over {len(names)} templates")


def effective_number(passes: Sequence[bool], clusters: Sequence[Hashable]) -> float:
    """How many independent cases these are worth, where those of one cluster rise and fall together."""
    from scipy.stats import norm, t

    names, n = list(dict.fromkeys(clusters)), len(passes)
    groups = len(names)
    if groups in (n, 0, 1):
        return float(groups)
    y = np.asarray(passes, dtype=float)
    p = float(y.mean())
    place = {name: number for number, name in enumerate(names)}
    sums = np.bincount([place[name] for name in clusters], weights=y - p, minlength=groups)
    robust = float((sums**2).sum()) / n**2 * groups / (groups - 1)
    plain = p * (1 - p) / n
    few = (float(norm.isf(ALPHA / 2)) / float(t.isf(ALPHA / 2, groups - 1))) ** 2
    return n / max(robust / plain, 1.0) * few if plain else float(groups) * few


def needed_for(share: float, bound: float, most: int = 100_000) -> int | None:
    """The fewest cases at which Wilson's interval of a share lies beyond a bound; None where `most` are too few."""

    def decided(n: int) -> bool:
        low, high = wilson(share * n, n)
        return high < bound or low > bound

    if not decided(most):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle + 1, high)
    return low


@dataclass(frozen=True)
class Stratum:
    """Answers to which the scorer says the same: how many there are, how many people labelled, and accepted."""

    size: int
    labelled: int
    accepted: int


def labelled_rate(strata: Sequence[Stratum]) -> Rate:
    """The share of these answers that people accept, from labels on some of them drawn at random in each stratum.

    Wilson in each stratum, with the correction for a finite population (a stratum that is labelled whole is known),
    put together by MOVER. Textbook prediction-powered intervals fail here for rare events (coverage .82).

    Source: Zou and Donner 2008 (MOVER); benchmarks/scorer_intervals.py measures coverage and width.
    """
    present = [stratum for stratum in strata if stratum.size]
    total, below, above, value = sum(stratum.size for stratum in present), 0.0, 0.0, 0.0
    if not total or any(not stratum.labelled for stratum in present):
        return Rate(math.nan, 0.0, 1.0, sum(stratum.labelled for stratum in present), "too few labels")
    for stratum in present:
        share, weight = stratum.accepted / stratum.labelled, stratum.size / total
        low, high = _finite(stratum)
        value += weight * share
        below += (weight * (share - low)) ** 2
        above += (weight * (high - share)) ** 2
    n = sum(stratum.labelled for stratum in present)
    return Rate(
        value,
        max(value - math.sqrt(below), 0.0),
        min(value + math.sqrt(above), 1.0),
        n,
        f"by people's labels of all {n}" if n == total else f"corrected by {n} of people's labels",
    )


def _finite(stratum: Stratum) -> tuple[float, float]:
    """Wilson's interval of a stratum's share, narrower the more of the stratum is labelled."""
    share, left = stratum.accepted / stratum.labelled, stratum.size - stratum.labelled
    if left <= 0:
        return share, share
    as_many = stratum.labelled * (stratum.size - 1) / left
    return wilson(share * as_many, as_many)


def corrected_by_error(rate: float, recall: Rate, specificity: Rate) -> Rate:
    """What a measured rate of positives is truly, by the scorer's recall and specificity; wide for a weak scorer.

    The bounds are those over the corners of both intervals at once. Rogan and Gladen 1978.
    """
    corners = [
        (rate + right - 1) / (found + right - 1)
        for found in (recall.low, recall.value, recall.high)
        for right in (specificity.low, specificity.value, specificity.high)
        if found + right > 1
    ]
    informative = recall.low + specificity.low > 1
    if not informative:
        return Rate(math.nan, 0.0, 1.0, recall.n + specificity.n, "the scorer may be no better than chance")
    value = (rate + specificity.value - 1) / (recall.value + specificity.value - 1)
    value, low, high = (min(max(number, 0.0), 1.0) for number in (value, min(corners), max(corners)))
    return Rate(value, low, high, recall.n + specificity.n, "Rogan-Gladen")


def at_least(hits: float, n: float, level: float = LEVEL) -> float:
    """The exact one-sided lower bound of a rate (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return float(beta.ppf(1 - level, hits, n - hits + 1)) if hits else 0.0


def at_most(hits: float, n: float, level: float = LEVEL) -> float:
    """The exact one-sided upper bound of a rate."""
    return 1.0 - at_least(n - hits, n, level)


@dataclass(frozen=True)
class Change:
    """The same cases before and now: how many were gained and lost, the exact p-value, and the n that would decide."""

    cases: int
    gained: int
    lost: int
    p: float
    needed: int | None

    @property
    def difference(self) -> float:
        """The pass rate now minus the one before, on the cases that both have."""
        return (self.gained - self.lost) / self.cases if self.cases else 0.0

    @property
    def standard_errors(self) -> float:
        """By how many standard errors of the paired difference it rose; 0 where nothing changed."""
        changed = self.gained + self.lost
        spread = changed - (self.gained - self.lost) ** 2 / self.cases if self.cases else 0.0
        return (self.gained - self.lost) / math.sqrt(max(spread, 1.0)) if changed else 0.0


def paired(before: Sequence[bool], now: Sequence[bool]) -> Change:
    """McNemar's exact test on the cases of which one run passes and the other does not."""
    from scipy.stats import binomtest

    gained = sum(new and not old for old, new in zip(before, now, strict=True))
    lost = sum(old and not new for old, new in zip(before, now, strict=True))
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return Change(len(now), gained, lost, p, needed_pairs(gained, lost, len(now)))


def needed_pairs(gained: int, lost: int, n: int) -> int | None:
    """How many cases would show this difference with a power of 80 %; None where there is none to show.

    Source: Connor 1987, for McNemar's test.
    """
    from scipy.stats import norm

    if gained == lost or not n:
        return None
    changed, difference = (gained + lost) / n, abs(gained - lost) / n
    alpha, beta = float(norm.isf(ALPHA / 2)), float(norm.isf(1 - POWER))
    spread = alpha * math.sqrt(changed) + beta * math.sqrt(max(changed - difference**2, 0.0))
    return math.ceil(spread**2 / difference**2)


def holm(p: Array) -> Array:
    """P-values `(N,)` corrected for all of them being looked at together (Holm 1979)."""
    order = np.argsort(p)
    corrected = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))) if len(p) else p
    result = np.empty_like(p)
    result[order] = np.minimum(corrected, 1.0)
    return result
