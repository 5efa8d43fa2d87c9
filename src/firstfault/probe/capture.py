"""What a loop trains on: the model as it began, its first batches, its loss and its optimizer, kept to be replayed."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from firstfault.probe.handwritten_losses import by_hand
from firstfault.probe.models import is_sharded
from firstfault.probe.replica import unwrapped
from firstfault.probe.transform_guard import transforming
from firstfault.training.call_tree import Arguments
from firstfault.training.one_tensor import IGNORED, Answer, answers_in, as_labels
from firstfault.training.patching import replace

LOSSES = (
    "cross_entropy",
    "nll_loss",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
    "huber_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
)
ELEMENTWISE = LOSSES[2:]
REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
MOST_SAMPLES = 2_000
MOST_BYTES = 64_000_000
MOST_MODELS = 4
SEEN_SAMPLES = 256
SAME_FACTOR = 1e-4
BETWEEN: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "": lambda outputs: outputs,
    "log_softmax": lambda outputs: outputs.log_softmax(-1),
    "softmax": lambda outputs: outputs.softmax(-1),
    "sigmoid": lambda outputs: outputs.sigmoid(),
    "log": lambda outputs: outputs.log(),
}
"""What may lie between a model's outputs and its loss, tried in this order on the first batch."""


class _Asked(NamedTuple):
    """One call of a loss function of torch, and what it gave."""

    name: str
    outputs: torch.Tensor
    target: torch.Tensor
    settings: dict[str, Any]
    value: torch.Tensor


@dataclass
class SeenModel:
    """A model as it was when it was first called with gradients on, and what it was given at first: 256 samples or one batch."""

    start: nn.Module
    calls: list[Arguments] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    full: bool = False
    """Whether it has been seen enough."""

    def asked(self, given: Arguments) -> None:
        """It is called."""
        if self.full:
            return
        if _lacks_names(self.calls[:1], given):
            self.calls, self.sizes = [], []
        self.calls = [*self.calls[: len(self.sizes)], given]

    def answered(self, size: int) -> None:
        """It answered with so many samples; 0 where there are none."""
        if self.full or len(self.calls) == len(self.sizes):
            return
        self.sizes.append(size)
        bytes_seen = sum(value.numel() * value.element_size() for call in self.calls for value in call.tensors)
        self.full = size == 0 or sum(self.sizes) >= SEEN_SAMPLES or bytes_seen >= MOST_BYTES
        if size == 0:
            self.calls, self.sizes = [], []


class Capture:
    """The first pass of a loop over its data, at most 2,000 samples; `why_not` says why it can't be replayed, if so.

    `seen` are the models as they began, with some of their inputs, also where the loop can't be replayed.
    """

    def __init__(self) -> None:
        self.model: nn.Module | None = None
        self.why_not = ""
        self.seen: dict[int, SeenModel] = {}
        self._not_copied: dict[int, str] = {}
        self.calls: list[Arguments] = []
        self.targets: list[torch.Tensor] = []
        self.sizes: list[int] = []
        self.answer = Answer()
        self.loss: Callable[..., Any] | None = None
        self.loss_name = ""
        self.optimizer: tuple[type, dict[str, Any]] | None = None
        self.open = True
        self._root: nn.Module | None = None
        self._given: Arguments | None = None
        self._met = False
        self._outputs: list[torch.Tensor] = []
        self._asked: list[_Asked] = []
        self._factor: float | None = None
        self._bytes = 0

    @property
    def samples(self) -> int:
        """How many samples were kept."""
        return sum(self.sizes)

    @property
    def plain(self) -> bool:
        """Whether the model was given one tensor, and nothing else."""
        return all(call.is_one_tensor for call in self.calls) and self.answer == Answer()

    @property
    def x(self) -> list[torch.Tensor]:
        """The first tensor of every batch."""
        return [call.tensors[0] for call in self.calls]

    @property
    def y(self) -> list[torch.Tensor]:
        """The labels of every batch, a row for each sample."""
        labels = as_labels(self.targets, self.sizes)
        return [] if labels is None else list(torch.split(labels, self.sizes))

    def refuse(self, reason: str) -> None:
        """Give up on a replay, and let go of what was kept for it."""
        self.why_not, self.open = self.why_not or reason, False
        self.calls, self.targets, self.sizes, self.model = [], [], [], None
        self._forget()

    def close(self) -> None:
        """Take no more batches."""
        self.open = False
        self._forget()

    def _forget(self) -> None:
        self._given, self._outputs, self._asked = None, [], []

    def called(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        """A model is about to be called with gradients on."""
        try:
            given = Arguments.of(args, kwargs)
        except Exception as error:
            self.refuse(f"the inputs can't be copied: {type(error).__name__}")
            return
        self._see(model, given)
        if not self.open:
            return
        if self._root is not None and model is not self._root:
            self.refuse("the loop trains several models")
            return
        if self._root is None:
            self._root = model
            if id(model) not in self.seen:
                self.refuse(self._not_copied.get(id(model), "the loop trains several models"))
                return
            self.model = self.seen[id(model)].start
            self._met = not given.tensors and not given.opaque
        if not self._met and not given.tensors and not given.opaque:
            self.refuse("the model is given no tensor")
            return
        self._given = given

    def _see(self, model: nn.Module, given: Arguments) -> None:
        """Keep the model as it begins, and its first inputs."""
        if id(model) not in self.seen and id(model) not in self._not_copied and len(self.seen) < MOST_MODELS:
            self._copy(model)
        if id(model) in self.seen:
            self.seen[id(model)].asked(given)

    def _copy(self, model: nn.Module) -> None:
        if any(map(is_sharded, model.parameters())):
            self._not_copied[id(model)] = "the model is sharded over several processes"
            return
        try:
            self.seen[id(model)] = SeenModel(copy.deepcopy(unwrapped(model)))
        except Exception as error:
            self._not_copied[id(model)] = f"the model can't be copied: {type(error).__name__}"

    def wants(self, model: nn.Module) -> bool:
        """Whether calls of a model are to be told."""
        seen = self.seen.get(id(model))
        new = id(model) not in self._not_copied and len(self.seen) < MOST_MODELS
        return self.open or (new if seen is None else not seen.full)

    def answered(self, model: nn.Module, outputs: Any) -> None:
        """A model answered."""
        found = list(answers_in(outputs))
        if id(model) in self.seen:
            self.seen[id(model)].answered(len(found[0]) if found else 0)
        if model is not self._root or not self.open:
            return
        self._outputs = found
        if not found:
            self.refuse("the model returns no tensor")

    def asked(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """A loss function of torch was called."""
        given = dict(zip(("input", "target"), args, strict=False)) | kwargs
        outputs, target = given.pop("input", None), given.pop("target", None)
        if isinstance(outputs, torch.Tensor) and isinstance(target, torch.Tensor):
            self._asked.append(_Asked(name, outputs.detach(), target.detach().clone(), given, result.detach()))

    def learnt(self, loss: float, tensor: torch.Tensor) -> None:
        """A backward pass begins with this loss: the batch is complete, if one loss was asked about the model's outputs, and this is it."""
        try:
            self._learnt(loss, tensor)
        except Exception as error:
            self.refuse(f"what lies between the model and its loss can't be followed: {type(error).__name__}")

    def _learnt(self, loss: float, tensor: torch.Tensor) -> None:
        asked, given, outputs = _as_one(self._asked, loss), self._given, self._outputs
        self._forget()
        if self._met:  # by a call of which torch tells no named arguments
            self._met = False
            return
        if given is None or not outputs:
            self.refuse("no model was called between two backward passes")
            return
        asked = asked or _written_out(tensor, outputs[0])
        why_not = self._why_no_loss(loss, asked, [value.detach() for value in outputs])
        if why_not:
            self.refuse(why_not)
            return
        size = len(outputs[self.answer.number])
        if given.is_one_tensor:
            size = len(given.tensors[0])
        target = asked[-1].target
        if target.ndim and size and len(target) % size == 0 and len(target):
            self._keep(given, target, size)

    def _why_no_loss(self, loss: float, asked: list[_Asked], outputs: list[torch.Tensor]) -> str:
        """Why the loss of a step can't be replayed; empty where it can."""
        if not asked:
            return "no loss function of torch was called between forward and backward"
        if len(asked) > 1:
            return "the loop adds several losses up"
        if not self._is_all_of(loss, float(asked[-1].value.mean())):
            return "the loop adds something to the loss function of torch, or weighs its batches"
        known = self.loss is not None or any(
            self._learn_loss(asked[-1], value, number) for number, value in enumerate(outputs)
        )
        return "" if known else "what lies between the model's outputs and the loss is not known"

    def _is_all_of(self, loss: float, value: float) -> bool:
        """Whether what is learnt from is the value of the loss function, up to a factor that is the same in every batch."""
        if not (math.isfinite(loss) and math.isfinite(value)) or value == 0:
            return True
        factor = loss / value
        self._factor = factor if self._factor is None else self._factor
        return math.isclose(factor, self._factor, rel_tol=SAME_FACTOR)

    def _learn_loss(self, asked: _Asked, outputs: torch.Tensor, number: int) -> bool:
        name, values, target, settings, _ = asked
        if values.numel() != outputs.numel():
            return False
        by_position = name in ("cross_entropy", "nll_loss") and values.ndim > 2 and values.shape == outputs.shape
        if not by_position and values.ndim == outputs.ndim > 2 and values.shape == outputs.movedim(-1, 1).shape:
            values = values.movedim(1, -1)
        for between, function in BETWEEN.items():
            if torch.allclose(
                function(outputs).reshape(values.shape).to(values.dtype), values, rtol=1e-4, atol=1e-5, equal_nan=True
            ):
                self.loss_name = " of ".join(part for part in (name, between) if part)
                paired = name in ELEMENTWISE and values.shape == target.shape
                flat = paired and name.startswith("binary") and values.ndim > 2
                self.answer = Answer(number, classes_last=by_position, flat=flat)
                shape = (
                    values.shape[1:2] if by_position else values[:1].flatten(1).shape[1:] if flat else values.shape[1:]
                )
                sign = -1.0 if (self._factor or 1.0) < 0 else 1.0
                self.loss = functools.partial(_replayed, name, between, tuple(shape), settings, paired, sign)
                self.loss.__module__ = "torch.nn.functional"  # type: ignore[attr-defined]
                return True
        return False

    def _keep(self, given: Arguments, target: torch.Tensor, size: int) -> None:
        """Keep a batch; labels of positions are kept as a row per sample."""
        if _lacks_names(self.calls, given):
            self.calls, self.targets, self.sizes = [], [], []
        if self.answer.classes_last or self.answer.flat:
            target = target.flatten(1)
        self._bytes += sum(value.numel() * value.element_size() for value in given.tensors)
        others = given.is_one_tensor and self.calls and given.tensors[0].shape[1:] != self.x[0].shape[1:]
        if self.calls and (self.samples + size > MOST_SAMPLES or self._bytes > MOST_BYTES or others):
            self.close()
            return
        self.calls.append(given.on_cpu())
        self.targets.append(target.cpu())
        self.sizes.append(size)

    def stepped(self, optimizer: Any) -> None:
        """An optimizer is about to step."""
        if self.optimizer is None:
            first = optimizer.param_groups[0]
            known = {name: first.get(name, value) for name, value in optimizer.defaults.items()}
            self.optimizer = (
                type(optimizer),
                {name: value for name, value in known.items() if name in _parameters(type(optimizer))},
            )

    def patches(self) -> list[Callable[[], None]]:
        """Listen to the loss functions of torch."""
        return [replace(functional, name, functools.partial(self._around, name)) for name in LOSSES]

    def _around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def observed(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if not torch.compiler.is_compiling() and self.open and torch.is_grad_enabled() and not transforming():
                self.asked(name, args, kwargs, result)
            return result

        return observed


def _lacks_names(calls: list[Arguments], given: Arguments) -> bool:
    """Whether the only call so far is that in which a model was met: torch tells no named arguments of it."""
    return len(calls) == 1 and not calls[0].form[1] and bool(given.form[1])


def _written_out(loss: torch.Tensor, outputs: torch.Tensor) -> list[_Asked]:
    found = by_hand(loss, outputs)
    if found is None:
        return []
    errors = (found.outputs - found.target).abs() ** (2 if found.name == "mse_loss" else 1)
    summed = math.isclose(float(errors.sum()), float(loss), rel_tol=SAME_FACTOR)
    value, settings = (errors.sum(), {"reduction": "sum"}) if summed else (errors.mean(), {})
    return [_Asked(found.name, found.outputs, found.target, settings, value)]


def _as_one(asked: list[_Asked], loss: float) -> list[_Asked]:
    """Two cross-entropies of the same outputs as one with shares of classes, where the loss lies between them: so samples are mixed up."""
    if len(asked) != 2 or any(
        call.name != "cross_entropy" or call.target.ndim != 1 or call.target.is_floating_point() or call.value.ndim
        for call in asked
    ):
        return asked
    first, second = asked
    if (
        first.outputs.ndim != 2
        or first.settings.get("ignore_index", IGNORED) != IGNORED
        or not torch.equal(first.outputs, second.outputs)
    ):
        return asked
    apart = float(first.value - second.value)
    share = (loss - float(second.value)) / apart if apart else 1.0
    if not -SAME_FACTOR <= share <= 1 + SAME_FACTOR:
        return asked
    one, other = (functional.one_hot(call.target, first.outputs.shape[1]).to(first.outputs.dtype) for call in asked)
    return [first._replace(target=share * one + (1 - share) * other, value=torch.tensor(loss))]


def _parameters(kind: type) -> set[str]:
    import inspect

    return set(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]


def _replayed(
    name: str,
    between: str,
    shape: tuple[int, ...],
    settings: dict[str, Any],
    paired: bool,
    sign: float,
    outputs: torch.Tensor,
    y: torch.Tensor,
) -> torch.Tensor:
    """The captured loss on a model's outputs: what lay between them, the shapes that the loss was given, and the sign of what was learnt from."""
    values = BETWEEN[between](outputs)
    values = values.reshape(-1, *shape)
    if name in ELEMENTWISE:
        y = y.to(values.dtype)
        y = y.reshape(values.shape) if paired and y.numel() == values.numel() else y
    y = (
        y.reshape(-1)
        if name in ("cross_entropy", "nll_loss") and y.is_floating_point() is False and len(y) != len(values)
        else y
    )
    return sign * getattr(functional, name)(values, y, **settings)  # type: ignore[no-any-return]


def task_of(capture: Capture) -> str | None:
    """The task that the loss and the labels tell; None where it is none that can be replayed, such as a class for each pixel."""
    labels, name = capture.y, capture.loss_name
    if not labels:
        return None
    y = labels[0]
    if any(name.startswith(known) for known in REGRESSION):
        return "regression"
    if name.startswith("binary"):
        return _task_of_shares(y, name)
    if y.ndim == 1:
        return "classification"
    if y.ndim == 2 and y.is_floating_point() and _several(torch.cat(labels)):
        return "multilabel"
    return None if y.ndim > 2 else "classification" if y.is_floating_point() else "language_model"


def _several(y: torch.Tensor) -> bool:
    """Whether rows of yes and no say yes to several, or to none: shares of classes add up to 1."""
    return bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) != 1).any())


def _task_of_shares(y: torch.Tensor, name: str) -> str | None:
    """Yes or no for one label or several; shares between them are numbers to come close to, where outputs are shares too."""
    if not bool(((y == 0) | (y == 1)).all()):
        return None if "logits" in name else "regression"
    if y.ndim > 2:
        return None
    return "multilabel" if y.ndim == 2 and y.shape[1] > 1 else "classification"
