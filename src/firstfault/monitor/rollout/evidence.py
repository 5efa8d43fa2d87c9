"""Evidence that a coin is biased, valid however often it is looked at: e-processes with a Beta mixture.

Each bad event of a rollout is a coin: did it happen to the challenger? Where a request is given to the challenger at
random with probability `w`, and the arms are equal, the answer is `w` for every bad event, whatever the rate of bad
events is and however it moves with the hour. In shadow mode, of the requests that went badly on one side only, half
are the challenger's. So one test serves both, for any event: an error, a slow answer, a low score.

An e-process starts at 1, and under the null its chance to ever reach 1/alpha is at most alpha (Ville's inequality).

Source: Ramdas, Grünwald, Vovk & Shafer, Game-theoretic statistics and safe anytime-valid inference (2023); Robbins,
Statistical methods related to the law of the iterated logarithm (1970), for mixtures.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import betainc, betaincc, betaln

from firstfault.metrics import Array

LIKELY = ((0.75, 1.6, 20.0), (0.25, 7.0, 10.0))
"""The mixture: shares of it, each densest where the rates differ by a ratio, as if so many events had said so.

Chosen in benchmarks/rollouts.py, of twelve that were tried: the one that is never slower than 1.27 times the best fixed
test between 1.25 and 10 times the rate. The first alone takes 1.5 times as long as that at ten times the rate.
"""
PRIOR_EVENTS = 20.0
"""The same of a mixture whose densest ratio is told."""


class Side(StrEnum):
    """Which side of the null the alternative lies on."""

    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True)
class Coin:
    """A null hypothesis about coins, and the mixture that bets against it.

    Attributes:
        null: the probability of heads; the null holds for it and for all on the other side of it.
        side: where the alternative lies.
        bets: shares of the mixture, each a Beta(a, b) over the alternative, which is cut at the null: `(share, a, b)`.
    """

    null: float
    side: Side
    bets: tuple[tuple[float, float, float], ...]

    def log_e(self, heads: Array, tosses: Array) -> Array:
        """The logarithm of the e-process `(N,)` after `tosses` `(N,)` with `heads` `(N,)` of them.

        E = ∫ θ^k (1-θ)^(n-k) dπ(θ) / (θ0^k (1-θ0)^(n-k)), with π a mixture of Beta(a, b) cut to one side of θ0. It is a
        test martingale under θ0, and a supermartingale under every θ on the null's side, also where θ moves from toss
        to toss.
        """
        tails = tosses - heads
        won = [np.log(share) + self._log_won(a, b, heads, tails) for share, a, b in self.bets]
        mixture = np.logaddexp.reduce(np.broadcast_arrays(*won))
        return np.asarray(mixture - heads * np.log(self.null) - tails * np.log1p(-self.null))

    def _log_won(self, a: float, b: float, heads: Array, tails: Array) -> Array:
        """What one Beta expects of such tosses."""
        cut = betaincc if self.side is Side.ABOVE else betainc
        with np.errstate(divide="ignore"):  # where next to nothing of the mixture is left, E is 0
            left = np.log(cut(a + heads, b + tails, self.null))
        return np.asarray(betaln(a + heads, b + tails) + left - betaln(a, b) - np.log(cut(a, b, self.null)))


def share_at(ratio: float, share: float) -> float:
    """The share of bad events that are the challenger's, where its rate is `ratio` times the champion's.

    Args:
        ratio: of the rates of bad events.
        share: of the requests that go to the challenger; in shadow mode 0.5.
    """
    return share * ratio / (share * ratio + 1 - share)


def coin(share: float, side: Side, ratio: float = 1.0, likely: float | None = None) -> Coin:
    """The test of whether the challenger's rate of bad events is above, or below, `ratio` times the champion's.

    `likely` is the ratio around which the mixture is densest; left out, it is that of `LIKELY`.

    Raises:
        ValueError: for a share that is not between 0 and 1, or a ratio that is not above 0.
    """
    if not 0 < share < 1:
        raise ValueError(f"the challenger's share must be between 0 and 1, but got {share!r}")
    if not 0 < ratio < float("inf"):
        raise ValueError(f"the ratio of the rates must be above 0, but got {ratio!r}")
    parts = LIKELY if likely is None else ((1.0, likely, PRIOR_EVENTS),)
    bets = []
    for part, guess, events in parts:
        mean = share_at(guess if likely is not None or side is Side.ABOVE else 1 / guess, share)
        bets.append((part, events * mean, events * (1 - mean)))
    return Coin(share_at(ratio, share), side, tuple(bets))


def rate_below(rate: float) -> Coin:
    """The test of whether a rate of bad events is below `rate`, by a Beta(½, ½) mixture over the rates below."""
    return Coin(rate, Side.BELOW, ((1.0, 0.5, 0.5),))


def first_passing(log_e: Array, alpha: float) -> int | None:
    """The place in `(N,)` at which an e-process first reaches 1/alpha."""
    passed = log_e >= -np.log(alpha)
    return int(passed.argmax()) if passed.any() else None
