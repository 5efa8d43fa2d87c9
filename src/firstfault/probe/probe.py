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
from firstfault.probe.backward_passes import BackwardPasses
from firstfault.probe.budget import Budget
from firstfault.probe.capture import Capture
from firstfault.probe.clipped_gradients import ClippedGradients
from firstfault.probe.code_lines import CodeLines
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
from firstfault.probe.sampling import Sampling
from firstfault.probe.sampling_schedule import Pace, timed
from firstfault.probe.tripwire import Tripwire
from firstfault.probe.validation import Validation
from firstfault.probe.zero_grad import Clearing
from firstfault.training.recipe import Recipe


class Probe:
    """Watches one training between `observe()` and its end; `record` holds what it saw. Steps count from 1.

    It reads tensors and never writes one, draws no random number, and calls no user code while values are finite, so
    that the result of the training is the same bit for bit. Every step costs a look at the loss and at one
    gradient; all else is looked at on the steps that `Pace` samples, for which there is a `Budget` (ADR 47).

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
        self._budget = Budget()
        self._pace = Pace(every, self._budget)
        self._paused = self._skips = self._told = False
        self.lines = CodeLines(self.record, self.models)
        self._pull = LabelPull(self.record.pull)
        self._losses = LossCalls(self.record, capture, self._is_paused, self.lines, self._pull)
        self._tripwire = Tripwire(self.record, self.models, self._losses, self.paused)
        self._clipped = ClippedGradients(lambda: self._sampling.on and not self._paused)
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
            lambda: self._sampling.look(),
            tripwire=self._tripwire,
            losses=self._losses,
            validation=self._validation,
            rewards=self._rewards,
            pull=self._pull,
        )
        self._logged = LoggedMetrics()
        self.passes = BackwardPasses(
            self.record,
            capture,
            self._is_paused,
            lambda: self.split,
            self._end_round,
            lambda: self._sampling.look_no_more(),
            tripwire=self._tripwire,
            losses=self._losses,
            clearing=self._clearing,
            own=self._own,
            rewards=self._rewards,
            pull=self._pull,
            loading=self._loading,
            lines=self.lines,
            phases=self._phases,
            logged=self._logged,
        )
        self._sampling = Sampling(
            self.models, self._looker, self._norms, self._pull, self._losses, self._calls, self.passes
        )
        self._functional = FunctionalGradients(self.record, Pace(every), self._is_paused, self._look_in_the_open)
        self._rounds = 0

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
        self._sampling.begin()
        try:
            yield
        except (Exception, SystemExit):
            self._tripwire.raised()
            raise
        finally:
            for take_back in reversed(undo):
                take_back()
            self._sampling.end()
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

    def _is_paused(self) -> bool:
        return self._paused

    def _patch(self) -> list[Callable[[], None]]:
        handles = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        return [handle.remove for handle in handles] + [
            self.passes.patch(),
            *self.lines.patches(),
            self._optimizers.patch(),
            self._validation.patch(),
            *self._loading.patches(),
            *self._losses.patches(),
            *self._clipped.patches(),
            *self._rewards.patches(),
            *self._functional.patches(),
        ]

    def _look_in_the_open(self, call: Callable[[], torch.Tensor]) -> None:
        """What `torch.func` differentiates is called once more: its losses alone are looked at, for no step is made."""
        with self.paused():
            self._losses.called_in_the_open(call)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        if self._paused or not self._optimizers.enters(optimizer):
            return None
        self._losses.close_validation(self.record.steps)
        self._skips = is_skipped(optimizer)
        self.record.steps_on_validation += self.passes.learning_from == "validation"
        if len(args) < 2 and not kwargs:
            self._look_at_gradients(optimizer)
            return None
        changed = with_closure(args, kwargs, lambda: self._look_at_gradients(optimizer))
        if changed is None:
            self._look_at_gradients(optimizer)
        elif self._sampling.on:  # a closure has the step's gradients only after its call
            self._norms.keep(
                value for group in optimizer.param_groups for value in group["params"] if value.requires_grad
            )
        return changed

    def _look_at_gradients(self, optimizer: Any) -> None:
        self._know(optimizer)
        held = self._optimizers.parameters(optimizer)
        self._clearing.before_step(id(optimizer), held)
        if not self._skips:
            self._tripwire.before_update(id(optimizer), held, sampled=self._sampling.on)
        if self._sampling.on:
            self._optimizers.look(optimizer)
            self._norms.take(id(optimizer), list(filter(has_norms, held)))

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._paused or not self._optimizers.leaves(optimizer):
            return
        self._phases.end("optimizer")
        self._know(optimizer)
        record, values = self.record, self._optimizers.parameters(optimizer)
        record.steps += 1
        if self._sampling.on and not self._norms.pull(id(optimizer), record.steps):
            self._tripwire.bad_update(record.steps)
        # a closure clears and learns within the step
        record.stale_steps += self._clearing.stepped(id(optimizer), values)
        self._tripwire.updated(optimizer, values)
        if (seconds := self._calls.seconds()) is not None:
            record.seconds.add(record.steps, seconds)
        record.loss.add(record.steps, self.passes.loss)
        if self._optimizers.is_first(optimizer):  # rates of several optimizers are no schedule
            record.lr.add(record.steps, float(optimizer.param_groups[0]["lr"]))
        if self._optimizers.ends_round(optimizer):
            self._end_round()
        if self._tripwire.tripped and not self._told:
            self._tell()

    def _end_round(self) -> None:
        self._rounds += 1
        self.passes.of_round = 0
        self._calls.end_round()
        if self._sampling.on:
            self._losses.end_round(self.record.steps)
            self._sampling.end()
            self._looker.pull(self.record.steps)
            self._note_gradients()
            self._budget.ends(self._rounds)
            self._tell()
        following = self._rounds + 1
        if self._pace.samples(following):
            self._budget.begins()
            self._sampling.begin()
        self._phases.begin(timed(following))
        self._calls.timing = self._phases.stands_for > 0

    def _tell(self) -> None:
        """Tell of a sampled step, and of the one in which a value was not finite for the first time."""
        self._told = self._tripwire.tripped
        self.record.stale_share = self._clearing.worst()
        if self.on_sample is not None:
            self.on_sample(self.record.steps)

    def _know(self, optimizer: Any) -> None:
        if self._optimizers.is_new(optimizer):
            self._optimizers.meet(optimizer)
            self._tripwire.know(optimizer, self._optimizers.parameters(optimizer))
            if self.capture is not None:
                self.capture.stepped(optimizer)

    def _note_gradients(self) -> None:
        self._norms.note_gradients(self._optimizers.held(), self.models.parameters)

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
        self.record.backward_by_hand = self.passes.custom.close()
        self.record.stale_share, self.record.emptied_steps = self._clearing.worst(), self._clearing.emptied
        self.record.moved = self.models.moved()
        note_language(self.record, self._losses.rows, self.models, self._loading.tokenizer)
        if self.folder is not None:
            write_json(self.folder / "record.json", self.record.to_json(), indent=None)
        if self.folder is not None and self._events:
            from firstfault.probe.sinks.tensorboard import write_tensorboard

            write_tensorboard(self.folder / "tensorboard", self.record, self.epochs)
