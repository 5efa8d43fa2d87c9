"""The probe: torch's hooks on, statistics kept as tensors, everything off again."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import dataloader

from firstfault.probe.activations import Looker
from firstfault.probe.birthplace import SET_BY_HAND, Call, birthplace, finite, in_calls
from firstfault.probe.capture import Capture
from firstfault.probe.hook import Hook
from firstfault.probe.loss_calls import LossCalls
from firstfault.probe.models import Models, is_compiled, modal_parts
from firstfault.probe.record import Parameter, Record
from firstfault.probe.samples import Samples
from firstfault.probe.updates import Updates

EVERY = 10
DENSE = 5
SMALL = 1024
MOST_CALLS = 8
MOST_SEARCHES = 5


class Probe:
    """Watches one training between `observe()` and its end; `record` holds what it saw. Steps count from 1.

    It reads tensors and never writes one, draws no random number, and calls no user code while values are finite, so that
    the result of the training is the same bit for bit. Every step costs a look at the loss and at an edge of every
    gradient; norms and activations are taken on the first 5 steps and on every `every`-th after them.

    Args:
        folder: takes record.json and TensorBoard files.
        every: the distance of sampled steps.
        on_sample: called with the step after each sampled step.
        capture: takes the first batches, to replay the training.
        samples: takes some values of gradients, weights and activations on sampled steps.
    """

    def __init__(
        self, folder: Path | None = None, *, every: int = EVERY, on_sample: Callable[[int], None] | None = None, capture: Capture | None = None,
        samples: Samples | None = None,
    ) -> None:
        self.folder, self.every, self.on_sample, self.capture, self.samples = folder, every, on_sample, capture, samples
        self.record = Record()
        self.epochs: list[Any] = []
        self.models = Models()
        self.split: str | None = None                   # whose batch is in hand, where a loader tells
        self._paused = False
        self._looker = Looker(self.record, samples)
        self._losses = LossCalls(self.record, lambda: self._paused)
        self._updates = Updates()
        self._calls: list[tuple[nn.Module, Any, Any, bool]] = []        # since the last backward pass; with gradients or without
        self._learnt: list[tuple[nn.Module, Any, Any, bool]] = []       # before it
        self._doubt: tuple[int, str, str] | None = None                 # a loss that was not finite, in a step that may be skipped
        self._searches = 0
        self._skips = False
        self._open: dict[int, list[int]] = {}            # by optimizer in its step: backward passes before it, steps nested in it
        self._began: float | None = None
        self._cpu = time.process_time()
        self._hooked: list[Any] = []
        self._searching: list[Any] = []
        self._modal: dict[int, list[nn.Module]] = {}
        self._held: dict[int, list[Any]] = {}
        self._used: dict[int, Any] = {}                 # by optimizer, a parameter whose gradient its last step used
        self._learning_from: str | None = None
        self._depth = 0
        self._rounds = 0
        self._first: int | None = None
        self._sampling = False
        self._norms: dict[int, Any] = {}
        self._loss: torch.Tensor | None = None
        self._mark = time.perf_counter()

    @contextlib.contextmanager
    def observe(self, model: nn.Module | None = None, recipe: Any = None) -> Iterator[None]:
        """Watch every optimizer step and forward pass inside the block; models that are not given are found by their calls."""
        if model is not None:
            self._meet(model)
        undo = self._patch()
        self._mark = time.perf_counter()
        self._sample_next()
        try:
            yield
        except (Exception, SystemExit):
            self._doubt_what_was_called()
            raise
        finally:
            for take_back in reversed(undo):
                take_back()
            self._stop_sampling()
            self._stop_searching()
            for handle in self._hooked:
                handle.remove()
            self._finish()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """See nothing inside the block."""
        self._paused, before = True, self._paused
        try:
            yield
        finally:
            self._paused = before
            self._mark, self._cpu = time.perf_counter(), time.process_time()

    def end_epoch(self, epoch: Any) -> None:
        """Note the evaluation of an epoch."""
        self.epochs.append(epoch)
        self.record.epoch_ends.append(self.record.steps)

    # ------------------------------------------------------------------ on and off

    def _patch(self) -> list[Callable[[], None]]:
        handles = [
            optimizers.register_optimizer_step_pre_hook(self._before_step),
            optimizers.register_optimizer_step_post_hook(self._after_step),
        ]
        return [handle.remove for handle in handles] + [
            _replace(torch.autograd, "backward", self._around_backward),
            _replace(dataloader._BaseDataLoaderIter, "__next__", self._around_next),
            _replace(LRScheduler, "step", self._around_schedule),
            *self._losses.patches(_replace),
            *(self.capture.patches(_replace) if self.capture is not None else ()),
        ]

    def _search(self) -> None:
        """Look at every call of a module, for models that were not seen yet."""
        if not self._searching:
            self._depth = 0
            self._searching = [
                modules.register_module_forward_pre_hook(self._entered),
                modules.register_module_forward_hook(self._left, always_call=True),
            ]

    def _stop_searching(self) -> None:
        for handle in self._searching:
            handle.remove()
        self._searching = []

    def _entered(self, module: nn.Module, inputs: Any) -> None:
        if self._depth == 0 and not self._paused:
            if isinstance(module, nn.modules.loss._Loss):
                name = type(module).__name__
                if name not in self.record.losses:
                    self.record.losses.append(name)
            elif any(True for _ in module.parameters()) and self._meet(module):
                self._before_forward(module, inputs, {})        # the hook of its own comes too late for this call
        self._depth += 1

    def _left(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._depth = max(0, self._depth - 1)

    def _meet(self, model: nn.Module) -> bool:
        if not self.models.add(model):
            return False
        self.record.models.append(type(model).__name__)
        if is_compiled(model):
            self.record.passed_over["activations"] = "torch.compile: hooks inside a compiled model would break its graph"
        self._modal[id(model)] = modal_parts(model)
        self._hooked += [
            model.register_forward_pre_hook(Hook(self._before_forward), with_kwargs=True), model.register_forward_hook(Hook(self._after_forward)),
        ]
        if self._sampling and not is_compiled(model):
            self._look()
        return True

    # ------------------------------------------------------------------ forward, backward

    def _before_forward(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        if self._paused:
            return
        learns = torch.is_grad_enabled()
        if learns and self._began is None:
            self._began = time.perf_counter()
        if self.record.first_nonfinite is None:
            if not learns:
                self._calls = [call for call in self._calls if call[0] is not model or call[3]]
            self._calls = [*self._calls[1 - MOST_CALLS:], (model, args, kwargs, learns)]
        if self.capture is not None and self.capture.open and torch.is_grad_enabled():
            self.capture.called(model, args, kwargs)

    def _after_forward(self, model: nn.Module, inputs: Any, outputs: Any) -> None:
        if self._paused:
            return
        if torch.is_grad_enabled():
            if self.capture is not None and self.capture.open:
                self.capture.answered(outputs)
            return
        if not self._modal.get(id(model)):
            return
        self.record.validation_batches += 1
        self.record.validated_in_train_mode += any(part.training for part in self._modal[id(model)])

    def _around_backward(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        def observed(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if self._paused:
                return backward(tensors, *args, **kwargs)
            self._pass("forward")
            self._before_backward(tensors if isinstance(tensors, torch.Tensor) else tensors[0])
            try:
                return backward(tensors, *args, **kwargs)
            finally:
                self._pass("backward")

        return observed

    def _before_backward(self, loss: torch.Tensor) -> None:
        self.record.backwards += 1
        self._learning_from = self.split
        for key, value in list(self._used.items()):
            if value is not None and (value.grad is None or not bool(value.grad.any())):
                self._used[key] = None
        if self.capture is not None and self.capture.open:
            self.capture.learnt()
        self._loss = loss.detach()
        self._calls, self._learnt = [], self._calls
        if self.record.first_nonfinite is None and self._doubt is None and not finite(self._loss):
            self._doubt = self._search_birthplace("loss", loss)

    # ------------------------------------------------------------------ steps

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        if self._paused:
            return None
        key = id(optimizer)
        if key in self._open and self._open[key][0] == self.record.backwards:       # a subclass calls the step that it extends
            self._open[key][1] += 1
            return None
        self._open[key] = [self.record.backwards, 0]
        if self._first is None:
            self._first = key
        self._losses.close_validation(self.record.steps)
        self._skips = _is_skipped(optimizer)
        self.record.steps_on_validation += self._learning_from == "validation"
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._look_at_gradients(optimizer, {})
            return None
        observed = self._around_closure(closure, optimizer)
        return (args, {**kwargs, "closure": observed}) if "closure" in kwargs else ((args[0], observed, *args[2:]), kwargs)

    def _around_closure(self, closure: Callable[[], Any], optimizer: Any) -> Callable[[], Any]:
        """A closure calls the model, and has the step's gradients only after its call, as in every step of Lightning."""
        values = [value for group in optimizer.param_groups for value in group["params"]] if self._sampling else []
        start = {id(value): value.detach().clone() for value in values if value.requires_grad}

        def observed() -> Any:
            loss = closure()
            self._look_at_gradients(optimizer, start)
            return loss

        return observed

    def _look_at_gradients(self, optimizer: Any, start: dict[int, torch.Tensor]) -> None:
        key = id(optimizer)
        self._know(optimizer)
        values = [value for value in self._held[key] if value.grad is not None and not value.grad.is_sparse]
        if self.record.first_nonfinite is None and not self._skips:
            self._judge_gradients([value.grad for value in values])
        if not self._sampling or not values:
            return
        grads = torch._foreach_norm([value.grad for value in values])
        self._norms[key] = values, grads, [start[id(value)] if id(value) in start else value.detach().clone() for value in values]
        if self.samples is not None:
            named = [(self.models.names[id(value)], value) for value in values]
            self.samples.take("gradients", ((name, value.grad) for name, value in named))
            self.samples.take("weights", named)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._paused:
            return
        key, record = id(optimizer), self.record
        if key in self._open and self._open[key][1]:
            self._open[key][1] -= 1
            return
        self._open.pop(key, None)
        self._know(optimizer)
        if self._sampling:
            self._pull(key)
        record.stale_steps += self._used.get(key) is not None       # a closure clears and learns within the step
        self._used[key] = self._used_gradient(key)
        record.steps += 1
        self._updates.made(optimizer, record.steps, self._held[key])
        if self._began is not None:
            record.seconds.add(record.steps, time.perf_counter() - self._began)
            self._began = None
        record.loss.add(record.steps, float(self._loss.mean()) if self._loss is not None else float("nan"))
        record.lr.add(record.steps, float(optimizer.param_groups[0]["lr"]))
        if key == self._first:
            self._end_round(optimizer)
        self._pass("optimizer")

    def _used_gradient(self, key: int) -> Any:
        """The smallest parameter with a gradient that is not zero: where it is still there at the next backward pass, nobody cleared it."""
        return next(
            (value for value in self._held[key] if value.grad is not None and not value.grad.is_sparse and bool(value.grad.any())), None
        )

    def _end_round(self, optimizer: Any) -> None:
        self._rounds += 1
        sampled = self._sampling
        self._stop_sampling()
        self._stop_searching()
        if sampled:
            self._looker.pull(self.record.steps)
            self._note_gradients()
            if self.on_sample is not None:
                self.on_sample(self.record.steps)
        if self._rounds < DENSE or (self._rounds + 1) % self.every == 0:
            self._sample_next()

    def _sample_next(self) -> None:
        self._sampling = True
        self._search()
        self._look()

    def _look(self) -> None:
        self._looker.end()
        self.models.look()
        leaves = self.models.leaves()
        attention: list[tuple[str, nn.Module]] = [
            (self.models.modules[id(module)], module)
            for model in self.models.roots.values() if not is_compiled(model)
            for module in model.modules() if isinstance(module, nn.MultiheadAttention) and id(module) in self.models.modules
        ]
        self._looker.begin(leaves, attention)

    def _stop_sampling(self) -> None:
        self._sampling = False
        self._looker.end()

    def _pull(self, key: int) -> None:
        """Norms of gradients, weights and updates of the step just made, in one transfer."""
        values, grads, before = self._norms.pop(key, ((), (), ()))
        if not values:
            return
        step, record = self.record.steps + 1, self.record
        changes = torch._foreach_norm(torch._foreach_sub([value.detach() for value in values], before))
        rows = torch.stack([torch.stack(list(part)).float().cpu() for part in (grads, torch._foreach_norm(before), changes)]).T.tolist()
        ratios = []
        for value, (grad, size, change) in zip(values, rows, strict=True):
            entry = record.parameters.setdefault(self.models.names[id(value)], Parameter(value.numel()))
            entry.gradient.add(step, grad)
            entry.weight.add(step, size)
            entry.update.add(step, change / max(size, 1e-12))
            if size > 1e-6:
                ratios.append(change / size)
        record.grad_norm.add(step, sum(row[0] ** 2 for row in rows) ** 0.5)
        record.update_ratio.add(step, float(sorted(ratios)[len(ratios) // 2]) if ratios else 0.0)
        if record.first_nonfinite is None and not all(ratio == ratio and ratio != float("inf") for ratio in ratios):
            weight = self._nonfinite_weight()
            record.first_nonfinite = (step, "weight", f"{weight}, by the update") if weight else None

    def _know(self, optimizer: Any) -> None:
        if id(optimizer) not in self._held:
            self._note_optimizer(optimizer)
            if self.capture is not None:
                self.capture.stepped(optimizer)

    def _note_optimizer(self, optimizer: Any) -> None:
        self.models.look()
        name, record = type(optimizer).__name__, self.record
        values = [value for group in optimizer.param_groups for value in group["params"]]
        self.models.adopt(values, name)
        self._held[id(optimizer)] = sorted(values, key=lambda value: value.numel())
        record.device = values[0].device.type if values else record.device
        if name not in record.optimizers:
            record.optimizers.append(name)
        record.weight_decay = max(record.weight_decay, max(float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups))

    def _note_gradients(self) -> None:
        held = {id(value) for values in self._held.values() for value in values}
        for name, value in self.models.parameters.items():
            self.record.in_optimizer[name] = self.record.in_optimizer.get(name, False) or id(value) in held
            if not self.record.had_gradient.get(name):
                self.record.had_gradient[name] = value.grad is not None and bool(_dense(value.grad).any())

    # ------------------------------------------------------------------ data and schedules

    def _around_next(self, following: Callable[..., Any]) -> Callable[..., Any]:
        def observed(iterator: Any) -> Any:
            if self._paused:
                return following(iterator)
            self._pass("other")
            began, first = time.perf_counter(), getattr(iterator, "_num_yielded", 0) == 0
            self.record.workers = max(self.record.workers or 0, getattr(iterator, "_num_workers", 0))
            try:
                batch = following(iterator)
                if not first and torch.is_grad_enabled():
                    self.record.waits.add(self.record.steps, time.perf_counter() - began)
                return batch
            except StopIteration:
                if self.capture is not None and self.capture.samples:
                    self.capture.close()                    # the second pass repeats the first
                raise
            finally:
                self._pass("data")

        return observed

    def _around_schedule(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def observed(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            name = type(scheduler).__name__
            self.record.schedulers[name] = self.record.schedulers.get(name, 0) + 1
            return step(scheduler, *args, **kwargs)

        return observed

    def _pass(self, phase: str) -> None:
        """Put the time since the last mark on a phase."""
        now, cpu = time.perf_counter(), time.process_time()
        self.record.phases[phase] = self.record.phases.get(phase, 0.0) + now - self._mark
        self.record.cpu[phase] = self.record.cpu.get(phase, 0.0) + cpu - self._cpu
        self._mark, self._cpu = now, cpu

    # ------------------------------------------------------------------ non-finite, end

    def _judge_gradients(self, gradients: list[torch.Tensor]) -> None:
        """Settle what is known before an update: a loss that was not finite is pardoned where the loop has cleared its gradients."""
        if self._loss is not None and self._doubt is not None and not finite(self._loss):
            self.record.first_nonfinite = self._doubt
        elif not _edges_finite(gradients) and not all(map(finite, gradients)):
            self.record.first_nonfinite = self._doubt or self._search_birthplace("gradient", self._loss)
        self._doubt = None

    def _search_birthplace(self, kind: str, loss: torch.Tensor | None) -> tuple[int, str, str]:
        """Step, kind and place of the first non-finite tensor; the step is that of the update where an update made it."""
        step = self.record.steps + 1
        self._searches += 1
        if self._searches > MOST_SEARCHES:
            return step, kind, f"the {kind}"
        with self.paused():
            self.models.look()
            weight = self._nonfinite_weight()
            if weight:
                made = self._updates.step_of(self.models.parameters[weight])
                return (made, "weight", f"{weight}, by the update") if made else (step, "weight", f"{weight}, {SET_BY_HAND}")
            found = birthplace(
                kind, self._calls_named([*self._learnt, *self._calls]), self.models.parameters, self.models.modules, loss=loss, asked=self._losses.last()
            )
        return step, *found

    def _calls_named(self, calls: list[tuple[nn.Module, Any, Any, bool]]) -> list[Call]:
        return [Call(self.models.modules.get(id(model), "model"), model, args, kwargs) for model, args, kwargs, _ in calls]

    def _nonfinite_weight(self) -> str | None:
        return next((name for name, value in self.models.parameters.items() if not finite(value)), None)

    def _doubt_what_was_called(self) -> None:
        """Search what was called before an exception: many loops raise by themselves when a loss is not finite."""
        if self.record.first_nonfinite is None and self._doubt is None and self._calls and self._nonfinite_weight() is None:
            with self.paused():
                found = in_calls(self._calls_named(self._calls), self.models.modules)
            self._doubt = (self.record.steps + 1, *found) if found else None

    def _settle(self) -> None:
        """What no later step tells: a loss in doubt at the end, a weight that the last update made."""
        if self.record.first_nonfinite is None and self._doubt is None:
            weight = self._nonfinite_weight()
            made = self._updates.step_of(self.models.parameters[weight]) if weight else None
            if weight:
                self._doubt = (made or self.record.steps + 1, "weight", f"{weight}, {'by the update' if made else SET_BY_HAND}")
        self.record.first_nonfinite = self.record.first_nonfinite or self._doubt
        self._calls, self._learnt = [], []

    def _finish(self) -> None:
        self._losses.close_validation(self.record.steps)
        self._settle()
        self._note_gradients()
        self.record.moved = self.models.moved()
        if self.folder is None:
            return
        from firstfault.probe.tensorboard import write_tensorboard

        (self.folder / "record.json").write_text(json.dumps(self.record.to_json()))
        write_tensorboard(self.folder / "tensorboard", self.record, self.epochs)


def _is_skipped(optimizer: Any) -> bool:
    """Whether a gradient scaler has told a fused optimizer to change nothing in this step."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def _dense(grad: torch.Tensor) -> torch.Tensor:
    """The stored values of a gradient that may be sparse."""
    return grad.coalesce().values() if grad.is_sparse else grad


def _edges_finite(grads: list[torch.Tensor]) -> bool:
    """Whether the gradients are finite, judged by small ones whole, and by the first row and column of the others.

    A NaN that reaches a weight's gradient from its outputs fills whole rows, one from its inputs whole columns.
    """
    edges = []
    for grad in grads:
        if grad.numel() <= SMALL or grad.ndim < 2:
            edges.append(grad)
        else:
            edges += [grad[0], grad.select(-1, 0) if grad.ndim == 2 else grad.flatten(1).select(1, 0)]
    return not edges or bool(torch.isfinite(torch.stack(torch._foreach_norm(edges)).sum()))


def _replace(owner: Any, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Put a function that `around` makes of an attribute in its place; gives what takes it back."""
    original = getattr(owner, name)
    setattr(owner, name, around(original))
    return lambda: setattr(owner, name, original)
