"""Bets against what is usual: for each kind of value, how much likelier it is under an alternative.

A bet multiplies its stake by L(x) for each request x, with E[L] ≤ 1 while serving is as usual, so that its product is
an e-process. What is usual is known from a sample only, and small differences are nobody's incident: each L is divided
by its largest expectation over all that is near enough to the reference, which makes it an e-value for these too.

Source: Ramdas, Grünwald, Vovk & Shafer, Game-theoretic statistics and safe anytime-valid inference (2023); Vovk et al.,
Testing exchangeability on-line (ICML 2003), for bets on ranks; Waudby-Smith & Ramdas, Estimating means of bounded
random variables by betting (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from firstfault.metrics import Array

EDGES = (0.002, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.94, 0.97, 0.99, 0.998)
"""Ranks in 0–1 at which a bin ends."""
FEWEST_IN_A_BIN = 10
"""Values of the reference in a bin at its ends: of fewer, its probability is unknown by a third."""
UNSURE, UNSURE_OF_A_RATE = 2.0, 1.0
"""Standard errors of the reference that are allowed for, of ranks and of rates.

Of those tried in benchmarks/detection.py, the least that keep false incidents below alpha; of rates, of 60 simulated
streams with 500 labels as reference and 20,000 after it, 13 opened with a half, and 0 with one; a rise from 10 to 15 %
is seen 52 labels later in the median.
"""
SHIFTS, SPREADS, TAIL = (0.4, 0.8, 1.6), (1.3, 2.0, 0.5), 0.15
"""Alternatives: moved by so many deviations, so many times as wide, and so many requests out at one end."""
SAFE = 0.02
"""The share of a stake that is not bet: no single request ruins it."""
RATIOS, SHARES = (1.45, 2.5), (0.03, 0.3)
"""Alternatives of a rate: so many times the usual one, and so much above it."""
MORE_OFTEN = 1.05
"""A twentieth more often is nobody's incident."""
MOST_WIDER = 0.08
"""Where a value may be moved, its spread may be wider by half of that, and by this at most."""
NEARLY_ALWAYS = 0.85
"""What happens more often than that can't happen much more often: nothing is bet."""
STAKES = (0.25, 1.0, 3.0)
"""Of a bet on the mean of a value in 0–1, in units of its inverse variance and the drop."""


@dataclass(frozen=True)
class RankBets:
    """Bets on the ranks that new values have in the reference.

    Attributes:
        edges: of the bins `(B - 1,)`.
        log: the logarithms of L by bin and bet `(B, K)`.
        slack: the logarithms of what each L was divided by `(K,)`.
    """

    edges: Array
    log: Array
    slack: Array

    @property
    def count(self) -> int:
        """The number of bets."""
        return int(self.log.shape[1])

    def of(self, ranks: Array) -> Array:
        """The logarithms `(N, K)` for ranks `(N,)` in 0–1; NaN where there is no rank."""
        unknown = np.isnan(ranks)
        found = self.log[np.searchsorted(self.edges, np.where(unknown, 0.5, ranks))]
        found[unknown] = np.nan
        return np.asarray(found)


def rank_bets(size: int, shift: float, sides: str = "both") -> RankBets:
    """Bets on ranks in a reference of a size, against shifts beyond `shift` deviations.

    Args:
        size: how many values the reference has.
        shift: what is too small to matter, in deviations.
        sides: "both", or "up" alone.
    """
    edges = np.array([edge for edge in EDGES if min(edge, 1 - edge) * size >= FEWEST_IN_A_BIN])
    near = shift + UNSURE / np.sqrt(size)
    width = UNSURE / np.sqrt(2 * size) + min(MOST_WIDER, shift / 2)
    usual = [_chances(edges, d, s) for d in (-near, 0.0, near) for s in (1 - width, 1.0, 1 + width)]
    if sides == "up":  # any lower value is as usual
        usual += [_chances(edges, d, s) for d in (-0.5, -1.0, -2.0, -4.0) for s in (0.7, 1.0, 1.3)]
    base = _chances(edges, 0.0, 1.0)
    logs, slack = [], []
    for alternative in _alternatives(edges, sides):
        ratio = SAFE + (1 - SAFE) * alternative / base
        slack.append(np.log(max(float(ratio @ chances) for chances in usual)))
        logs.append(np.log(ratio) - slack[-1])
    return RankBets(edges, np.stack(logs, axis=1), np.array(slack))


def _chances(edges: Array, shift: float, spread: float) -> Array:
    """The probability of each bin where the normal scores have that mean and deviation."""
    return np.diff(np.concatenate([[0.0], ndtr((ndtri(edges) - shift) / spread), [1.0]]))


def _alternatives(edges: Array, sides: str) -> list[Array]:
    base = _chances(edges, 0.0, 1.0)
    ends = [np.eye(len(base))[place] for place in (-1, 0)]
    up = [_chances(edges, shift, 1.0) for shift in SHIFTS] + [(1 - TAIL) * base + TAIL * ends[0]]
    if sides == "up":
        return up
    down = [_chances(edges, -shift, 1.0) for shift in SHIFTS] + [(1 - TAIL) * base + TAIL * ends[1]]
    return up + down + [_chances(edges, 0.0, spread) for spread in SPREADS]


@dataclass(frozen=True)
class CoinBets:
    """Bets that something happens more often than usual.

    Attributes:
        usual: the rate that is usual, at most.
        rates: the alternatives `(K,)`.
    """

    usual: float
    rates: tuple[float, ...]

    @property
    def count(self) -> int:
        """The number of bets."""
        return len(self.rates)

    @property
    def slack(self) -> Array:
        """Nothing: L is the ratio of two likelihoods."""
        return np.zeros(len(self.rates))

    def of(self, happened: Array, share: float = 1.0, season: Array | None = None) -> Array:
        """The logarithms `(N, K)` for what happened or not `(N,)`; NaN where nobody knows.

        Args:
            happened: 1.0, 0.0 or NaN.
            share: of those to whom it did not happen, how many are seen; all to whom it did are.
            season: the usual rate of each one's hour, as a multiple of that of all `(N,)`.
        """
        factor = np.ones((1, 1)) if season is None else season[:, None]
        usual = np.clip(self.usual * factor, 1e-7, 0.95)
        rates = np.clip(np.asarray(self.rates) * factor, usual, 0.995)
        q, other = _seen(usual, share), _seen(rates, share)
        heads, tails = np.log(other / q), np.log((1 - other) / (1 - q))
        return np.asarray(happened[:, None] * heads + (1 - happened[:, None]) * tails)


def _seen(rate: Array, share: float) -> Array:
    """The rate among those that are seen: everything that happened, and a share of the others."""
    return np.asarray(rate / (rate + (1 - rate) * share))


def coin_bets(
    events: float, size: float, ratios: Sequence[float] = RATIOS, least: float = 0.0, unsure: float = UNSURE_OF_A_RATE
) -> CoinBets:
    """Bets against the rate of `events` among `size` requests.

    Args:
        events: how often it happened in the reference.
        size: of how many.
        ratios: alternatives, as multiples of the usual rate.
        least: a rate that is nobody's incident.
        unsure: standard errors that the usual rate may be larger by.
    """
    rate = (events + 0.5) / (size + 1)
    more = unsure * np.sqrt(rate * (1 - rate) / size) + 0.5 / size
    usual = max(least, rate * MORE_OFTEN, rate + more)
    if usual > NEARLY_ALWAYS:
        return CoinBets(min(usual, 0.98), (min(usual, 0.98),))
    wanted = [ratio * max(rate, least) for ratio in ratios] + [usual + share * (1 - usual) for share in SHARES]
    return CoinBets(usual, tuple(min(0.99, value) for value in wanted if value > usual * 1.1))


@dataclass(frozen=True)
class MeanBets:
    """Bets that the mean of a value in 0–1 is below `usual`: L = 1 + λ (usual - x), for several λ."""

    usual: float
    stakes: tuple[float, ...]

    @property
    def count(self) -> int:
        """The number of bets."""
        return len(self.stakes)

    @property
    def slack(self) -> Array:
        """Nothing is divided."""
        return np.zeros(len(self.stakes))

    def of(self, values: Array) -> Array:
        """The logarithms `(N, K)` for values `(N,)`; NaN where there is none."""
        return np.asarray(np.log1p(np.asarray(self.stakes) * (self.usual - values)[:, None]))


def mean_bets(values: Array, margin: float) -> MeanBets:
    """Bets against the mean of a reference `(n,)`, less a margin."""
    spread = float(np.std(values)) + 1e-3
    usual = float(np.mean(values)) - margin - 2 * spread / np.sqrt(len(values))
    most = 0.9 / max(1 - usual, 0.05)
    return MeanBets(usual, tuple(sorted({min(most, stake * margin / spread**2) for stake in STAKES})))
