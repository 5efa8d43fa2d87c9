"""Whether a policy gradient makes likelier what brought more: the weight that a loss gives an action, and what came of
it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from firstfault.metrics import Array
from firstfault.probe.series import Series

MOST_UPDATES = 400
"""Updates that are looked at: bounds the time; a sign is known after some 30."""
MOST_STEPS = 20_000
"""Of one update: bounds the memory where a loop acts for long and does not learn."""
FEWEST = 4
"""Actions of an update, for a correlation."""


class Credit:
    """Adds to `found`, by update, the correlation of minus the loss's slope in the log-probability of every action with
    the rewards from there to the end of its episode: above 0 where the loss makes likelier what brings more.

    An update counts whose actions and rewards are as many.
    """

    def __init__(self, found: Series) -> None:
        self._found = found
        self._slopes: list[list[torch.Tensor]] = []
        self._rewards: list[Array] = []
        self._overs: list[Array] = []
        self._pending: tuple[list[list[torch.Tensor]], list[Array], list[Array]] | None = None
        self._updates = 0

    def chose(self, log_prob: torch.Tensor) -> None:
        """The log-probability of an action that was drawn was asked for."""
        if self._updates >= MOST_UPDATES or not log_prob.requires_grad:
            return
        slopes: list[torch.Tensor] = []
        log_prob.register_hook(lambda slope: slopes.append(slope.detach()))  # type: ignore[no-untyped-call]
        self._slopes.append(slopes)

    def rewarded(self, reward: Any, over: Any) -> None:
        """A step was made: its rewards `(N,)` or a number, and which of the episodes end with it."""
        if self._updates < MOST_UPDATES and len(self._rewards) < MOST_STEPS:
            self._rewards.append(np.asarray(reward, float))
            self._overs.append(np.broadcast_to(over, np.shape(reward)))

    def told(self, rewards: Any, *, to_go: bool) -> None:
        """What the loop itself calls the rewards of this update, an array or a list; `to_go` where they are returns."""
        values = np.asarray(rewards, float)
        if len(self._slopes) == 1 and values.ndim == 1:
            self.rewarded(values, True)
        elif values.ndim and len(values) == len(self._slopes):
            for number, value in enumerate(values):
                self.rewarded(value, to_go or number == len(values) - 1)

    def learns(self, step: int) -> None:
        """A backward pass begins; the slopes of one before it are known."""
        if self._slopes:
            self.settle(step)
            self._pending, self._updates = (self._slopes, self._rewards, self._overs), self._updates + 1
        self._slopes, self._rewards, self._overs = [], [], []

    def settle(self, step: int) -> None:
        """Note the update whose backward pass is over."""
        pending, self._pending = self._pending, None
        if pending is None or len(pending[0]) != len(pending[1]) or not all(pending[0]):
            return
        slopes, rewards, overs = pending
        if len({each.shape for each in rewards}) > 1 or len({each[0].shape for each in slopes}) > 1:
            return
        weights = -np.stack([each[0].float().cpu().numpy() for each in slopes])
        value = _correlation(weights, _to_go(np.stack(rewards), np.stack(overs)))
        if value is not None:
            self._found.add(step, value)


def _to_go(rewards: Array, overs: Array) -> Array:
    """The rewards `(T, …)` from each step to the end of its episode."""
    sums, after = np.zeros_like(rewards), np.zeros(rewards.shape[1:])
    for at in reversed(range(len(rewards))):
        after = rewards[at] + np.where(overs[at], 0.0, after)
        sums[at] = after
    return sums


def _correlation(weights: Array, gains: Array) -> float | None:
    """That of all of an update; None of too few, or of such that are all alike."""
    if weights.ndim > gains.ndim:  # an action of several numbers
        weights = weights.reshape(*gains.shape, -1).mean(-1) if weights.size % gains.size == 0 else weights
    if weights.size != gains.size or gains.size < FEWEST:
        return None
    flat, gained = weights.reshape(-1), gains.reshape(-1)
    if not np.isfinite(flat).all() or not flat.std() > 0 or not gained.std() > 0:
        return None
    return float(np.corrcoef(flat, gained)[0, 1])
