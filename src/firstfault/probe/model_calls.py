"""The calls of a training's models: who is told of them, and how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from firstfault.clock import unhindered_seconds
from firstfault.probe.capture import Capture
from firstfault.probe.generated_samples import GeneratedSamples
from firstfault.probe.hook import Hook
from firstfault.probe.label_pull import LabelPull
from firstfault.probe.loss_calls import LossCalls
from firstfault.probe.model_discovery import Finder
from firstfault.probe.models import Models, is_compiled
from firstfault.probe.record import Record
from firstfault.probe.rewards import Rewards
from firstfault.probe.transform_guard import transforming
from firstfault.probe.tripwire import Tripwire
from firstfault.probe.validation import Validation


class ModelCalls:
    """Finds models by their calls, and tells what is asked of them and what they answer.

    What has seen enough is told no more: a call between two steps costs ten times what it does in a loop of its own,
    since the caches are the model's.

    Args:
        paused: says when nothing is to be told.
        found: called after a model was found on a sampled step, inside which hooks may be set.
    """

    def __init__(
        self,
        record: Record,
        models: Models,
        capture: Capture | None,
        paused: Callable[[], bool],
        found: Callable[[], None],
        *,
        tripwire: Tripwire,
        losses: LossCalls,
        validation: Validation,
        rewards: Rewards,
        pull: LabelPull,
    ) -> None:
        self._record, self._models, self._capture, self._paused, self._found = record, models, capture, paused, found
        self._tripwire, self._losses, self._validation = tripwire, losses, validation
        self._rewards, self._pull = rewards, pull
        self.generated = GeneratedSamples()
        self.finder = Finder(record, paused, self.meet, self._before)
        self.sampling = False
        self._taking = capture  # while more is wanted of a model that was met
        self._began: float | None = None
        self._hooked: list[Any] = []

    def meet(self, model: nn.Module) -> bool:
        """Take in a model; whether it is new."""
        if not self._models.add(model):
            return False
        self._record.models.append(type(model).__name__)
        if is_compiled(model):
            self._record.passed_over["activations"] = (
                "torch.compile: hooks inside a compiled model would break its graph"
            )
        self._validation.meet(model)
        self.generated.met(len(self._models.roots))
        self._taking = self._capture
        self._hooked += [
            model.register_forward_pre_hook(Hook(self._before), with_kwargs=True),
            model.register_forward_hook(Hook(self._after)),
        ]
        if self.sampling and not is_compiled(model):
            self._found()
        return True

    def end(self) -> None:
        """Hear no more calls."""
        for handle in self._hooked:
            handle.remove()

    def _before(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        if self._paused() or transforming():
            return
        learns = torch.is_grad_enabled()
        self._tripwire.called(model, args, kwargs, learns)
        if self._rewards.looks:
            self._rewards.called()
        if not learns:
            self._validation.evaluates(model, (args, kwargs))
            return
        self._validation.learns_in(model, (args, kwargs))
        if self._began is None:
            self._began = unhindered_seconds()
        if self.generated.open:
            self.generated.given(model, (args, kwargs), sampled=self.sampling)
        if self.sampling:
            self._validation.learns(model, (args, kwargs))
        if self.sampling or self._losses.rows.open:
            self._losses.given((args, kwargs))
        if self._taking is not None and self._taking.wants(model):
            self._taking.called(model, args, kwargs)

    def _after(self, model: nn.Module, inputs: Any, outputs: Any) -> None:
        if self._paused() or transforming():
            return
        if self.generated.open:
            self.generated.answered(model, outputs)
        if not torch.is_grad_enabled():
            self._validation.called(model, inputs)
            return
        if self.sampling:
            self._pull.answered(outputs)
            self._losses.answered(inputs, outputs)
        if self._taking is not None and self._taking.wants(model):
            self._taking.answered(model, outputs)

    def seconds(self) -> float | None:
        """Those since the first call with gradients after the last time this was asked; None without one."""
        began, self._began = self._began, None
        return unhindered_seconds() - began if began is not None else None

    def end_round(self) -> None:
        """A step is done: see who wants to hear of more calls."""
        if self._taking is not None and not any(map(self._taking.wants, self._models.roots.values())):
            self._taking = None
