"""The probe: torch's hooks on, statistics kept as tensors, everything off again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from firstfault.output.whole_files import write_json
from firstfault.probe.activations import Looker
from firstfault.probe.capture import Capture
from firstfault.probe.clipped_gradients import ClippedGradients
from firstfault.probe.code_lines import CodeLines
from firstfault.probe.custom_gradients import CustomGradients
from firstfault.probe.functional_gradients import FunctionalGradients
from firstfault.probe.label_pull import LabelPull
from firstfault.probe.language_end import note_language
from firstfault.probe.loader_wait import Loading
from firstfault.probe.logged_metrics import LoggedMetrics
from firstfault.probe.loss_calls import LossCalls
from firstfault.probe.model_calls import ModelCalls
from firstfault.probe.models import Models
from firstfault.probe.norms import Norms, has_norms
from firstfault.probe.optimizers import Optimizers, is_skipped, with_closure
from firstfault.probe.other_processes import OtherProcesses
from firstfault.probe.own_updates import OwnUpdates
from firstfault.probe.phases import Phases
from firstfault.probe.record import Record
from firstfault.probe.rewards import Rewards
from firstfault.probe.samples import Samples
from firstfault.probe.sampling_schedule import Pace
from firstfault.probe.tripwire import Tripwire
from firstfault.probe.validation import Validation
from firstfault.probe.zero_grad import Clearing
from firstfault.training.patching import replace
from firstfault.training.recipe import Recipe

MOST_PASSES = 8  # backward passes of a step: the others of an accumulation are like them


class Probe:
    """Watches one training between `observe()` and its end; `record` holds what it saw. Steps count from 1.

    It reads tensors and never writes one, draws no random number, and calls no user code while values are finite, so
    that the result of the training is the same bit for bit. Every step costs a look at the loss and at an edge of every
    gradient; norms and activations are taken on the steps that `Pace` samples.

    Args:
        folder: takes record.json and TensorBoard files.
        every: the distance of sampled steps; left out, it grows with the training.
        on_sample: called with the step after each sampled step.
        capture: takes the first batches, to replay the training.
        samples: takes some values of gradients, weights and activations on sampled steps.
        events: whether TensorBoard files are written at the end; a debug run writes them after its verdict.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        every: int | None = None,
        on_sample: Callable[[int], None] | None = None,
        capture: Capture | None = None,
        samples: Samples | None = None,
        events: bool = True,
    ) -> None:
        self.folder, self.on_sample, self.capture = folder, on_sample, capture
        self.record = Record()
        self._events = events
        self.epochs: list[Any] = []
        self.models = Models()
        self.split: str | None = None  # whose batch is in hand, where a loader tells
        self._pace = Pace(every)
        self._paused = self._sampling = self._skips = self._told = False
        self.lines = CodeLines(self.record, self.models)
        self._pull = LabelPull(self.record.pull)
        self._losses = LossCalls(self.record, capture, self._is_paused, self.lines, self._pull)
        self._tripwire = Tripwire(self.record, self.models, self._losses, self.paused)
        self._clipped = ClippedGradients(lambda: self._sampling and not self._paused)
        self._norms = Norms(self.record, self.models, samples, self._clipped)
        self._validation = Validation(self.record, self.models.modules, self.lines)
        self._looker = Looker(self.record, samples, self._validation.drops)
        self._clearing = Clearing()
        self._own = OwnUpdates(self.record, self.models, self._norms, self._clearing)
        self._phases = Phases(self.record)
        self._rewards = Rewards(self.record, self._is_paused)
        self._loading = Loading(self.record, self._phases, capture, self._is_paused, self.lines)
        self._optimizers = Optimizers(self.record, self.models, self.lines)
        self._calls = ModelCalls(
            self.record,
            self.models,
            capture,
            self._is_paused,
            self._look,
            tripwire=self._tripwire,
            losses=self._losses,
            validation=self._validation,
            rewards=self._rewards,
            pull=self._pull,
        )
        self._custom, self._logged = CustomGradients(), LoggedMetrics()
        self._functional = FunctionalGradients(self.record, Pace(every), self._is_paused, self._look_in_the_open)
        self._learning_from: str | None = None
        self._loss = float("nan")
        self._rounds = self._passes = 0

    @contextlib.contextmanager
    def observe(self, model: nn.Module | None = None, recipe: Recipe | None = None) -> Iterator[None]:
        """Watch every optimizer step and forward pass inside the block.

        Models that are not given are found by their calls.
        """
        if model is not None:
            self._calls.meet(model)
        undo = self._patch()
        self._phases.restart()
        others = OtherProcesses()
        self._sample_next()
        try:
            yield
        except (Exception, SystemExit):
            self._tripwire.raised()
            raise
        finally:
            for take_back in reversed(undo):
                take_back()
            self._stop_sampling()
            self.record.others = others.share()
            self._calls.end()
            self._finish()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """See nothing inside the block."""
        self._paused, before = True, self._paused
        try:
            yield
        finally:
            self._paused = before
            self._phases.restart()

    def end_epoch(self, epoch: Any) -> None:
        """Note the evaluation of an epoch."""
        self.epochs.append(epoch)
        self.record.epoch_ends.append(self.record.steps)

    # ------------------------------------------------------------------ on and off

    def _is_paused(self) -> bool:
        return self._paused

    def _patch(self) -> list[Callable[[], None]]:
        handles = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        return [handle.remove for handle in handles] + [
            replace(torch.autograd, "backward", self._around_backward),
            *self.lines.patches(),
            self._optimizers.patch(),
            self._validation.patch(),
            *self._loading.patches(),
            *self._losses.patches(),
            *self._clipped.patches(),
            *self._rewards.patches(),
            *self._functional.patches(),
        ]

    # ------------------------------------------------------------------ backward

    def _around_backward(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        def observed(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if self._paused:
                return backward(tensors, *args, **kwargs)
            self._phases.end("forward")
            self._before_backward(tensors if isinstance(tensors, torch.Tensor) else tensors[0])
            try:
                return backward(tensors, *args, **kwargs)
            finally:
                self._after_backward()
                self._phases.end("backward")

        return observed

    def _before_backward(self, loss: torch.Tensor) -> None:
        if not self.record.optimizers and self._own.made(self._loss, loss, sampled=self._sampling):
            self._end_round()
        if not self.record.backwards:
            self.lines.learns()
            self._logged.learns()
        if self._rewards.listens:
            self._rewards.learns()
        self.record.backwards += 1
        self._learning_from = self.split
        self._clearing.before_backward()
        self._loss = self._tripwire.before_backward(loss)
        if self._sampling:
            self._losses.learnt(loss)
        self._custom.learnt(loss)
        if self.capture is not None and self.capture.open:
            self.capture.learnt(self._loss, loss)

    def _after_backward(self) -> None:
        self._passes += 1
        if self._passes == MOST_PASSES and self._sampling:
            self._looker.end()
            self._calls.finder.end()
        self._clearing.after_backward()
        if not self.record.optimizers:
            self._own.after_backward(sampled=self._sampling)
        if self._sampling:
            self._pull.learnt(self.record.steps + 1, self._loading.batch)

    def _look_in_the_open(self, call: Callable[[], torch.Tensor]) -> None:
        """What `torch.func` differentiates is called once more: its losses alone are looked at, for no step is made."""
        before = self._losses.sampling
        with self.paused():
            self._losses.in_the_open = self._losses.sampling = True
            try:
                self._losses.learnt(call())
            finally:
                self._losses.in_the_open, self._losses.sampling = False, before

    # ------------------------------------------------------------------ steps

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        if self._paused or not self._optimizers.enters(optimizer):
            return None
        self._losses.close_validation(self.record.steps)
        self._skips = is_skipped(optimizer)
        self.record.steps_on_validation += self._learning_from == "validation"
        if len(args) < 2 and not kwargs:
            self._look_at_gradients(optimizer)
            return None
        changed = with_closure(args, kwargs, lambda: self._look_at_gradients(optimizer))
        if changed is None:
            self._look_at_gradients(optimizer)
        elif self._sampling:  # a closure has the step's gradients only after its call
            self._norms.keep(
                value for group in optimizer.param_groups for value in group["params"] if value.requires_grad
            )
        return changed

    def _look_at_gradients(self, optimizer: Any) -> None:
        self._know(optimizer)
        held = self._optimizers.parameters(optimizer)
        self._clearing.before_step(id(optimizer), held)
        if not self._skips:
            self._tripwire.before_update(held)
        if self._sampling:
            self._optimizers.look(optimizer)
            self._norms.take(id(optimizer), list(filter(has_norms, held)))

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._paused or not self._optimizers.leaves(optimizer):
            return
        self._know(optimizer)
        record, values = self.record, self._optimizers.parameters(optimizer)
        record.steps += 1
        if self._sampling and not self._norms.pull(id(optimizer), record.steps):
            self._tripwire.bad_update(record.steps)
        # a closure clears and learns within the step
        record.stale_steps += self._clearing.stepped(id(optimizer), values)
        self._tripwire.updated(optimizer, values)
        if (seconds := self._calls.seconds()) is not None:
            record.seconds.add(record.steps, seconds)
        record.loss.add(record.steps, self._loss)
        if self._optimizers.is_first(optimizer):  # rates of several optimizers are no schedule
            record.lr.add(record.steps, float(optimizer.param_groups[0]["lr"]))
        if self._optimizers.ends_round(optimizer):
            self._end_round()
        if self._tripwire.tripped and not self._told:
            self._tell()
        self._phases.end("optimizer")

    def _end_round(self) -> None:
        self._rounds += 1
        self._passes = 0
        self._calls.end_round()
        if self._sampling:
            self._losses.end_round(self.record.steps)
            self._stop_sampling()
            self._looker.pull(self.record.steps)
            self._note_gradients()
            self._tell()
        if self._pace.samples(self._rounds + 1):
            self._sample_next()

    def _tell(self) -> None:
        """Tell of a sampled step, and of the one in which a value was not finite for the first time."""
        self._told = self._tripwire.tripped
        self.record.stale_share = self._clearing.worst()
        if self.on_sample is not None:
            self.on_sample(self.record.steps)

    def _sample_next(self) -> None:
        self._sampling = self._losses.sampling = self._calls.sampling = True
        self._calls.finder.begin()
        self._look()

    def _look(self) -> None:
        self._looker.end()
        self.models.look()
        self._looker.begin(self.models.leaves, self.models.attention)

    def _stop_sampling(self) -> None:
        self._sampling = self._losses.sampling = self._calls.sampling = False
        self._looker.end()
        self._calls.finder.end()
        self._norms.forget()
        self._pull.forget()

    def _know(self, optimizer: Any) -> None:
        if self._optimizers.is_new(optimizer):
            self._optimizers.meet(optimizer)
            self._tripwire.know(self._optimizers.parameters(optimizer))
            if self.capture is not None:
                self.capture.stepped(optimizer)

    def _note_gradients(self) -> None:
        self._norms.note_gradients(self._optimizers.held(), self.models.parameters)

    # ------------------------------------------------------------------ the end

    def _finish(self) -> None:
        self._functional.close()
        self._losses.close_validation(self.record.steps)
        self._tripwire.settle()
        self._note_gradients()
        self._optimizers.note_never_stepped()
        self._losses.note_constants()
        self.record.logged = self._logged.last()
        self._calls.generated.note(self.record)
        self._validation.close()
        self.record.backward_by_hand = self._custom.close()
        self.record.stale_share, self.record.emptied_steps = self._clearing.worst(), self._clearing.emptied
        self.record.moved = self.models.moved()
        note_language(self.record, self._losses.rows, self.models, self._loading.tokenizer)
        if self.folder is not None:
            write_json(self.folder / "record.json", self.record.to_json(), indent=None)
        if self.folder is not None and self._events:
            from firstfault.probe.sinks.tensorboard import write_tensorboard

            write_tensorboard(self.folder / "tensorboard", self.record, self.epochs)
