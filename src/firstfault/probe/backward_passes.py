"""The backward passes of a loop: what is learnt from, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from firstfault.probe.capture import Capture
from firstfault.probe.code_lines import CodeLines
from firstfault.probe.custom_gradients import CustomGradients
from firstfault.probe.label_pull import LabelPull
from firstfault.probe.loader_wait import Loading
from firstfault.probe.logged_metrics import LoggedMetrics
from firstfault.probe.loss_calls import LossCalls
from firstfault.probe.own_updates import OwnUpdates
from firstfault.probe.phases import Phases
from firstfault.probe.record import Record
from firstfault.probe.rewards import Rewards
from firstfault.probe.tripwire import Tripwire
from firstfault.probe.zero_grad import Clearing
from firstfault.training.patching import replace

MOST_PASSES = 8
"""Backward passes of a step at which activations are looked at: the others of an accumulation are like them."""


class BackwardPasses:
    """Hears every backward pass: reads its loss, and in sampled steps tells what it was made of.

    Args:
        paused: says when nothing is to be heard.
        split: says whose batch is in hand, where a loader tells.
        stepped: called where the loop has changed a weight by itself since the last pass: that was a step.
        enough: called after the last pass of a sampled step at which activations are looked at.
    """

    def __init__(
        self,
        record: Record,
        capture: Capture | None,
        paused: Callable[[], bool],
        split: Callable[[], str | None],
        stepped: Callable[[], None],
        enough: Callable[[], None],
        *,
        tripwire: Tripwire,
        losses: LossCalls,
        clearing: Clearing,
        own: OwnUpdates,
        rewards: Rewards,
        pull: LabelPull,
        loading: Loading,
        lines: CodeLines,
        phases: Phases,
        logged: LoggedMetrics,
    ) -> None:
        self._record, self._capture, self._paused = record, capture, paused
        self._split, self._stepped, self._enough = split, stepped, enough
        self._tripwire, self._losses, self._clearing, self._own = tripwire, losses, clearing, own
        self._rewards, self._pull, self._loading = rewards, pull, loading
        self._lines, self._phases, self._logged = lines, phases, logged
        self.custom = CustomGradients()
        self.sampling = False
        self.loss = float("nan")
        """The loss of the last pass."""
        self.of_round = 0
        """The passes since the last step."""
        self.learning_from: str | None = None
        """Whose batch the last pass learnt from."""

    def patch(self) -> Callable[[], None]:
        """Begin to listen; gives what ends it."""
        return replace(torch.autograd, "backward", self._around)

    def _around(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        def observed(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if self._paused():
                return backward(tensors, *args, **kwargs)
            self._phases.end("forward")
            self._before(tensors if isinstance(tensors, torch.Tensor) else tensors[0])
            try:
                return backward(tensors, *args, **kwargs)
            finally:
                self._after()
                self._phases.end("backward")

        return observed

    def _before(self, loss: torch.Tensor) -> None:
        if not self._record.optimizers and self._own.made(self.loss, loss, sampled=self.sampling):
            self._stepped()
        if not self._record.backwards:
            self._lines.learns()
            self._logged.learns()
        if self._rewards.listens:
            self._rewards.learns()
        self._record.backwards += 1
        self.learning_from = self._split()
        self._clearing.before_backward()
        self.loss = self._tripwire.before_backward(loss)
        if self.sampling:
            self._losses.learnt(loss)
        self.custom.learnt(loss)
        if self._capture is not None and self._capture.open:
            self._capture.learnt(self.loss, loss)

    def _after(self) -> None:
        self.of_round += 1
        if self.of_round == MOST_PASSES and self.sampling:
            self._enough()
        self._clearing.after_backward()
        if not self._record.optimizers:
            self._own.after_backward(sampled=self.sampling)
        if self.sampling:
            self._pull.learnt(self._record.steps + 1, self._loading.batch)
