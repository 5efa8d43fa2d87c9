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

LIKELY_RATIO, PRIOR_EVENTS = 1.8, 20.0
"""The mixture is densest where the rates differ by this ratio, as if so many events had said so.

Chosen in benchmarks/rollouts.py: between 1.5 and 3 times the rate no other of those tried is faster throughout.
"""


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
        a: of the Beta mixture over the alternative, which is cut at the null.
        b: of the same.
    """

    null: float
    side: Side
    a: float
    b: float

    def log_e(self, heads: Array, tosses: Array) -> Array:
        """The logarithm of the e-process `(N,)` after `tosses` `(N,)` with `heads` `(N,)` of them.

        E = ∫ θ^k (1-θ)^(n-k) dπ(θ) / (θ0^k (1-θ0)^(n-k)), with π a Beta(a, b) cut to one side of θ0. It is a test
        martingale under θ0, and a supermartingale under every θ on the null's side, also where θ moves from toss to
        toss.
        """
        tails = tosses - heads
        cut = betaincc if self.side is Side.ABOVE else betainc
        with np.errstate(divide="ignore"):  # where next to nothing of the mixture is left, E is 0
            left = np.log(cut(self.a + heads, self.b + tails, self.null))
        mixture = betaln(self.a + heads, self.b + tails) + left
        prior = betaln(self.a, self.b) + np.log(cut(self.a, self.b, self.null))
        return np.asarray(mixture - prior - heads * np.log(self.null) - tails * np.log1p(-self.null))


def share_at(ratio: float, share: float) -> float:
    """The share of bad events that are the challenger's, where its rate is `ratio` times the champion's.

    Args:
        ratio: of the rates of bad events.
        share: of the requests that go to the challenger; in shadow mode 0.5.
    """
    return share * ratio / (share * ratio + 1 - share)


def coin(share: float, side: Side, ratio: float = 1.0, likely: float | None = None) -> Coin:
    """The test of whether the challenger's rate of bad events is above, or below, `ratio` times the champion's.

    `likely` is the ratio around which the mixture is densest; left out, `LIKELY_RATIO` on the alternative's side.

    Raises:
        ValueError: for a share that is not between 0 and 1, or a ratio that is not above 0.
    """
    if not 0 < share < 1:
        raise ValueError(f"the challenger's share must be between 0 and 1, but got {share!r}")
    if not 0 < ratio < float("inf"):
        raise ValueError(f"the ratio of the rates must be above 0, but got {ratio!r}")
    guess = likely if likely is not None else LIKELY_RATIO if side is Side.ABOVE else 1 / LIKELY_RATIO
    mean = share_at(guess, share)
    return Coin(share_at(ratio, share), side, PRIOR_EVENTS * mean, PRIOR_EVENTS * (1 - mean))


def rate_below(rate: float) -> Coin:
    """The test of whether a rate of bad events is below `rate`, by a Beta(½, ½) mixture over the rates below."""
    return Coin(rate, Side.BELOW, 0.5, 0.5)


def first_passing(log_e: Array, alpha: float) -> int | None:
    """The place in `(N,)` at which an e-process first reaches 1/alpha."""
    passed = log_e >= -np.log(alpha)
    return int(passed.argmax()) if passed.any() else None
