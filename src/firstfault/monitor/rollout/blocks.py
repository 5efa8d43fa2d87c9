"""Two arms whose shares nobody has drawn: a safe test by blocks, for outcomes of recordings made side by side.

Source: Turner, Ly & Grünwald, Generic E-variables for exact sequential k-sample tests that allow for optional
stopping (Journal of Statistical Planning and Inference, 2024).
"""

from __future__ import annotations

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.rollout.evidence import Side

PRIOR = 0.18
"""Of each rate: Beta(0.18, 0.18), which their paper finds best for the regret at any sample size."""


def log_e_of_blocks(champion: Array, challenger: Array, sizes: tuple[int, int], side: Side) -> Array:
    """The logarithm of the e-process `(N,)` after each of N blocks, against equal rates of bad events.

    A block has `sizes` requests of champion and challenger. With rates θa, θb estimated from the blocks before,
    E = Π (θa/θ0)^ya ((1-θa)/(1-θ0))^(na-ya) (θb/θ0)^yb ((1-θb)/(1-θ0))^(nb-yb), where θ0 is the mean of both over the
    block's requests: the projection onto equal rates, so that the expectation is at most 1 under all of them, also
    where the rate moves from block to block. Where the estimate lies on the null's side, nothing is bet (E = 1).

    Args:
        champion: bad events of the champion in each block `(N,)`.
        challenger: the same of the challenger.
        sizes: requests of champion and challenger in a block.
        side: whether the alternative is that the challenger's rate is above or below.
    """
    na, nb = sizes
    a, b = _rates_before(champion, na), _rates_before(challenger, nb)
    bets = b > a if side is Side.ABOVE else b < a
    pooled = (na * a + nb * b) / (na + nb)
    log = (
        champion * np.log(a / pooled)
        + (na - champion) * np.log((1 - a) / (1 - pooled))
        + challenger * np.log(b / pooled)
        + (nb - challenger) * np.log((1 - b) / (1 - pooled))
    )
    return np.asarray(np.cumsum(np.where(bets, log, 0.0)))


def _rates_before(bad: Array, size: int) -> Array:
    """The posterior mean of a rate before each block."""
    before = np.concatenate([[0.0], np.cumsum(bad)[:-1]])
    return np.asarray((before + PRIOR) / (size * np.arange(len(bad)) + 2 * PRIOR))
