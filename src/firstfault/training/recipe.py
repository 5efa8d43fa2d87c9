"""Everything a training needs, as one replaceable value: prepared tensors, a model factory, the settings.

A swap is a function Recipe -> Recipe.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from firstfault.errors import TargetError, UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.metrics import Array
from firstfault.target.declaration import Training
from firstfault.training.answers import answers_in
from firstfault.training.call_tree import mapped
from firstfault.training.estimators import EstimatorModel
from firstfault.training.input_tree import is_tree
from firstfault.training.losses import ELEMENTWISE
from firstfault.training.one_tensor import takes_whole_numbers

ELEMENTWISE_MODULES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss)


@dataclass(frozen=True)
class Tensors:
    """Inputs `(N, …)` and encoded labels `(N, …)` of one split."""

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: torch.Tensor | slice | Array | list[int]) -> Tensors:
        """The given rows."""
        return Tensors(self.x[index], self.y[index])


@dataclass(frozen=True)
class Recipe:
    """One training: what a swap replaces a part of.

    `classes` is the number of classes of a classification, 0 otherwise. `model` builds the network;
    `root` is the user's folder, where tracebacks of user code are looked up.
    """

    task: str
    train: Tensors
    validation: Tensors
    test: Tensors
    model: Callable[[], nn.Module]
    training: Training
    classes: int
    root: Path

    def with_training(self, **changes: Any) -> Recipe:
        """This recipe with some training settings replaced."""
        return replace(self, training=replace(self.training, **changes))

    def with_parts(
        self, *, train: Tensors | None = None, validation: Tensors | None = None, test: Tensors | None = None
    ) -> Recipe:
        """This recipe with the tensors that are given in place of its own."""
        return replace(
            self,
            train=self.train if train is None else train,
            validation=self.validation if validation is None else validation,
            test=self.test if test is None else test,
        )

    def build(self, seed: int) -> nn.Module:
        """A freshly initialised model, in train mode, on the training device.

        Raises:
            UserCodeError: when the user's factory raises or returns no nn.Module.
        """
        torch.manual_seed(seed)
        try:
            model = self.model()
            if not isinstance(model, nn.Module):
                raise TargetError(f"model() must return an nn.Module, but returned {type(model).__name__}")
        except BaseException as error:
            pass_on(error)
            raise UserCodeError(Layer.MODEL, "model", error, self.root) from error
        if isinstance(model, EstimatorModel):
            return model.seeded(seed, own=seed == self.training.seed)
        return model.to(device_of(self.training)).train()

    def inputs_for(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """`x` in the dtype the model takes: whole numbers stay int64 only for models that embed them."""
        if not isinstance(x, torch.Tensor):  # the user's own tree
            return mapped(x, lambda part: part.to(device_of(self.training)) if isinstance(part, torch.Tensor) else part)
        x = x.to(device_of(self.training))
        return x if x.is_floating_point() or takes_whole_numbers(model) else x.to(torch.float32)

    def loss(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The target's own loss on outputs `(N, …)` and encoded labels, without the penalty."""
        loss = self.training.loss or default_loss(self.task)
        if outputs.ndim == 3 and self.task == "language_model" and not _of_torch(loss):
            with contextlib.suppress(RuntimeError, ValueError, IndexError):  # one that wants the tokens flattened
                return loss(outputs, y.to(outputs.device))
        outputs, y = fit_labels(loss, self.task, outputs, y)
        return tensor_of("training.loss", loss(outputs, y))


def inputs_made(name: str, value: Any) -> Any:
    """The inputs that a user's function `name` returned: a tensor, or a tree where its model takes one.

    Raises:
        TypeError: where it is neither.
    """
    return value if is_tree(value) else tensor_of(name, value)


def tensor_of(name: str, value: Any) -> torch.Tensor:
    """What a user's function `name` returned, where it is a tensor.

    Raises:
        TypeError: where it is none.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must return a tensor, but returned {type(value).__name__}")
    return value


def _of_torch(loss: Callable[..., Any]) -> bool:
    """Whether a loss is one of torch's modules or functions, which take tokens as a flat list."""
    function = getattr(loss, "func", loss)  # of functools.partial
    return isinstance(function, nn.modules.loss._Loss) or getattr(function, "__module__", "") == "torch.nn.functional"


def default_loss(task: str) -> nn.Module:
    """The loss that fits a task, on raw outputs."""
    if task == "regression":
        return nn.MSELoss()
    return nn.BCEWithLogitsLoss() if task == "multilabel" else nn.CrossEntropyLoss()


def fit_labels(
    loss: Callable[..., Any], task: str, outputs: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and labels in the shape and dtype that `loss` takes.

    Token outputs `(N, T, V)` are flattened over positions. Element-wise losses get labels in the
    shape of the outputs: one-hot where there is a column per class. Other callables get class ids.
    """
    y = y.to(outputs.device)
    if task == "language_model" and outputs.ndim == 3 and y.ndim == 2:
        outputs, y = outputs.flatten(0, 1), y.flatten()
    elementwise = isinstance(loss, ELEMENTWISE_MODULES) or getattr(loss, "__name__", "") in ELEMENTWISE
    if not elementwise:
        return outputs, y
    if task == "classification" and outputs.ndim == 2 and outputs.shape[1] > 1 and y.ndim == 1:
        y = nn.functional.one_hot(y.long(), max(outputs.shape[1], int(y.max()) + 1))
    if outputs.numel() == y.numel():
        y = y.reshape(outputs.shape)
    return outputs, y.to(outputs.dtype)


def outputs_of(value: Any) -> torch.Tensor:
    """The output tensor of a model that may return a tuple, a mapping or a distribution: its first, or `logits`.

    Raises:
        TypeError: where there is no tensor in it.
    """
    first = _first_of(value)
    if first is None:
        first = next(answers_in(value), None)
    if first is None:
        raise TypeError(
            f"the model must return a tensor, a tuple or a mapping of tensors, but returned {type(value).__name__}"
        )
    return first


def _first_of(value: Any) -> torch.Tensor | None:
    """The tensor that stands first, or is called `logits`."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, tuple | list):
        return _first_of(value[0]) if value else None
    if hasattr(value, "logits"):
        return _first_of(value.logits)
    if isinstance(value, dict) and value:
        return _first_of(value.get("logits", next(iter(value.values()))))
    return None


def device_of(training: Training) -> torch.device:
    """The device a training runs on; `auto` is CUDA where there is one."""
    if training.device != "auto":
        return torch.device(training.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
