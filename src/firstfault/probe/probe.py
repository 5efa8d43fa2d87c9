"""The probe: global hooks of torch on, statistics kept as tensors, everything off again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import optimizer as optimizers

from firstfault.probe.record import Record
from firstfault.recipe import outputs_of

RATIO_EVERY = 10
MODES_MATTER = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, nn.AlphaDropout)


class Probe:
    """Watches one training between `observe(model, recipe)` and its end; `record` holds what it saw.

    It reads tensors and never writes one, draws no random number, and calls no user code, so that the
    result of the training is the same bit for bit. `folder` takes record.json and TensorBoard files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.record = Record()
        self.epochs: list[Any] = []
        self._paused = False
        self._handles: list[Any] = []
        self._stepped = False
        self._before: list[torch.Tensor] | None = None
        self.split: str | None = None                   # whose batch is in hand, where a loader tells
        self._learning_from: str | None = None

    @contextlib.contextmanager
    def observe(self, model: nn.Module, recipe: Any) -> Iterator[None]:
        """Watch every optimizer step and forward pass inside the block."""
        self._model = model
        self._named: list[tuple[str, nn.Parameter]] = []
        self._start: dict[str, torch.Tensor] = {}
        self._modal = [module for module in model.modules() if isinstance(module, MODES_MATTER)]
        backward = torch.Tensor.backward
        self._hook()
        torch.Tensor.backward = self._watched(backward)  # type: ignore[method-assign]
        try:
            yield
        finally:
            torch.Tensor.backward = backward  # type: ignore[method-assign]
            for handle in self._handles:
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

    def end_epoch(self, epoch: Any) -> None:
        """Note the evaluation of an epoch."""
        self.epochs.append(epoch)
        self.record.epoch_ends.append(self.record.steps)

    def _hook(self) -> None:
        self._handles = [
            optimizers.register_optimizer_step_pre_hook(self._before_step),
            optimizers.register_optimizer_step_post_hook(self._after_step),
            self._model.register_forward_hook(self._after_forward),
        ]

    def _parameters(self) -> list[tuple[str, nn.Parameter]]:
        if not self._named:                             # lazily made layers have their shapes only now
            self._named = [
                (name, value) for name, value in self._model.named_parameters()
                if not isinstance(value, nn.parameter.UninitializedParameter)
            ]
            self._start = {name: value.detach().clone() for name, value in self._named}
        return self._named

    def _after_forward(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        if self._paused:
            return
        self._parameters()
        if self.record.first_nonfinite is None:
            self._x = inputs[0] if inputs and isinstance(inputs[0], torch.Tensor) else None
        if not torch.is_grad_enabled() and self._modal:
            self.record.validation_batches += 1
            self.record.validated_in_train_mode += any(part.training for part in self._modal)

    def _watched(self, backward: Callable[..., Any]) -> Callable[..., Any]:
        probe = self

        def observed(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if not probe._paused:
                probe._before_backward(tensor)
            return backward(tensor, *args, **kwargs)

        return observed

    def _before_backward(self, loss: torch.Tensor) -> None:
        self.record.backwards += 1
        self._learning_from = self.split
        named = self._parameters()
        if self._stepped:
            optimized = self.record.in_optimizer
            held = [value.grad for name, value in named if value.grad is not None and optimized.get(name, True)]
            if held and float(torch.stack(torch._foreach_norm(held)).sum()) > 0:
                self.record.stale_gradients += 1
            self._stepped = False
        self._loss = float(loss.detach()) if loss.numel() == 1 else float(loss.detach().mean())
        if not torch.isfinite(loss.detach()).all():
            self._note_nonfinite("loss")

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._paused:
            return
        named = self._parameters()
        grads = [value.grad for _, value in named if value.grad is not None and not value.grad.is_sparse]
        norm = float(torch.stack(torch._foreach_norm(grads)).norm()) if grads else 0.0
        self.record.grad_norm.append(norm)
        self.record.steps_on_validation += self._learning_from == "validation"
        self.record.loss.append(getattr(self, "_loss", float("nan")))
        self.record.lr.append(float(optimizer.param_groups[0]["lr"]))
        if not torch.isfinite(torch.tensor(norm)):
            self._note_nonfinite("gradient")
        if self.record.steps == 1 or self.record.steps % 50 == 0:
            self._note_optimizer(optimizer)
        if self.record.steps <= 5 or self.record.steps % RATIO_EVERY == 0:
            self._before = [value.detach().clone() for _, value in named]

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self._paused:
            return
        self._stepped = True
        if self._before is None:
            return
        values = [value.detach() for _, value in self._parameters()]
        change = torch._foreach_norm(torch._foreach_sub(values, self._before))
        size = torch._foreach_norm(self._before)
        ratios = torch.stack(change) / torch.stack(size).clamp_min(1e-12)
        self.record.update_ratio.append(float(ratios[torch.stack(size) > 1e-6].median()) if len(ratios) else 0.0)
        self.record.ratio_steps.append(self.record.steps)
        self._before = None
        if not torch.isfinite(ratios).all():
            self._note_nonfinite("weight")

    def _note_optimizer(self, optimizer: Any) -> None:
        held = {id(value) for group in optimizer.param_groups for value in group["params"]}
        name = type(optimizer).__name__
        if name not in self.record.optimizers:
            self.record.optimizers.append(name)
        self.record.weight_decay = max(
            self.record.weight_decay, max(float(group.get("weight_decay") or 0.0) for group in optimizer.param_groups)
        )
        for key, value in self._parameters():
            self.record.in_optimizer[key] = self.record.in_optimizer.get(key, False) or id(value) in held
            self.record.had_gradient[key] = self.record.had_gradient.get(key, False) or (
                value.grad is not None and bool((value.grad != 0).any())
            )

    def _note_nonfinite(self, kind: str) -> None:
        if self.record.first_nonfinite is not None:
            return
        self.record.first_nonfinite = (self.record.steps, *self._birthplace(kind))

    def _birthplace(self, kind: str) -> tuple[str, str]:
        """Where the NaN was born: the inputs, a weight, a module's output, or else the loss or gradient."""
        x = getattr(self, "_x", None)
        if x is not None and x.is_floating_point() and not torch.isfinite(x).all():
            return "input", "the model's input"
        for name, value in self._parameters():
            if not torch.isfinite(value.detach()).all():
                return "weight", name
        found: list[str] = []
        if x is not None:
            with self.paused(), torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = _nonfinite_modules(self._model, x)
        return ("activation", found[0]) if found else (kind, kind)

    def _finish(self) -> None:
        for name, value in self._named:
            start = self._start[name]
            size = float(start.norm())
            self.record.moved[name] = float((value.detach() - start).norm()) / max(size, 1e-8)
        if self.folder is None:
            return
        (self.folder / "record.json").write_text(json.dumps(self.record.to_json()))
        _write_tensorboard(self.folder / "tensorboard", self.record, self.epochs)


def _nonfinite_modules(model: nn.Module, x: torch.Tensor) -> list[str]:
    found: list[str] = []

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            with contextlib.suppress(TypeError):
                if not torch.isfinite(outputs_of(outputs)).all():
                    found.append(name)

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    modes = {module: module.training for module in model.modules()}
    handles = [module.register_forward_hook(look(name or "model")) for name, module in leaves]
    try:
        model.eval()
        model(x)
    except RuntimeError:
        pass
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return found


def _write_tensorboard(folder: Path, record: Record, epochs: list[Any]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
        for step, (loss, norm, rate) in enumerate(zip(record.loss, record.grad_norm, record.lr, strict=True)):
            writer.add_scalar("step/loss", loss, step)  # type: ignore[no-untyped-call]
            writer.add_scalar("step/grad_norm", norm, step)  # type: ignore[no-untyped-call]
            writer.add_scalar("step/lr", rate, step)  # type: ignore[no-untyped-call]
        for step, ratio in zip(record.ratio_steps, record.update_ratio, strict=True):
            writer.add_scalar("step/update_ratio", ratio, step)  # type: ignore[no-untyped-call]
        for epoch in epochs:
            for name in ("train_loss", "train_metric", "validation_loss", "validation_metric"):
                writer.add_scalar(f"epoch/{name}", getattr(epoch, name), epoch.number)  # type: ignore[no-untyped-call]
