"""What a loop trains on: the model as it began, its first batches, its loss and its optimizer, kept to be replayed."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from firstfault.probe.handwritten_losses import by_hand
from firstfault.probe.models import is_sharded
from firstfault.probe.models_taking_labels import Place, arguments
from firstfault.probe.replica import unwrapped
from firstfault.probe.transform_guard import transforming
from firstfault.training.patching import replace
from firstfault.training.recipe import outputs_of

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
SAME_FACTOR = 1e-4
IGNORED = -100
"""The label that cross-entropy leaves out unless it is told another."""
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


class Capture:
    """The first pass of a loop over its data, at most 2,000 samples; `why_not` says why it can't be replayed, if so.

    Where only the loss is not known, `start` and `inputs` are the model as it began, and the inputs that it was given until then.
    """

    def __init__(self) -> None:
        self.model: nn.Module | None = None
        self.start: nn.Module | None = None
        self.inputs: list[torch.Tensor] = []
        self.why_not = ""
        self.x: list[torch.Tensor] = []
        self.y: list[torch.Tensor] = []
        self.loss: Callable[..., Any] | None = None
        self.loss_name = ""
        self.optimizer: tuple[type, dict[str, Any]] | None = None
        self.open = True
        self.labels_at: Place | None = None  # where the model itself is given the labels
        self.settings: dict[Place, Any] = {}
        self._root: nn.Module | None = None
        self._others: dict[Place, torch.Tensor] = {}
        self._given: torch.Tensor | None = None
        self._outputs: torch.Tensor | None = None
        self._asked: list[_Asked] = []
        self._factor: float | None = None
        self._bytes = 0

    @property
    def samples(self) -> int:
        """How many samples were kept."""
        return sum(map(len, self.x))

    def refuse(self, reason: str) -> None:
        """Give up, and let go of what was kept."""
        self.why_not, self.open = self.why_not or reason, False
        self.x, self.y, self.model = [], [], None
        self._forget()

    def close(self) -> None:
        """Take no more batches."""
        self.open = False
        self._forget()

    def _forget(self) -> None:
        self._given, self._outputs, self._asked = None, None, []

    def called(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        """A model is about to be called with gradients on."""
        if self._root is not None and model is not self._root:
            self.refuse("the loop trains several models")
            return
        others = arguments(args, kwargs)
        if (
            not args
            or not isinstance(args[0], torch.Tensor)
            or args[0].ndim == 0
            or others is None
            or len(others[0]) > 1
        ):
            self.refuse("the model takes something else than one tensor")
            return
        self._others, self.settings = others
        if self._root is None:
            self._root = model
            if any(map(is_sharded, model.parameters())):
                self.refuse("the model is sharded over several processes")
                return
            try:
                self.model = copy.deepcopy(unwrapped(model))
            except Exception as error:
                self.refuse(f"the model can't be copied: {type(error).__name__}")
                return
        self._given = args[0].detach().clone()
        self._others = {place: value.detach().clone() for place, value in self._others.items()}

    def answered(self, outputs: Any) -> None:
        """The model answered."""
        try:
            self._outputs = outputs_of(outputs)
        except TypeError:
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
        if given is None or outputs is None:
            self.refuse("no model was called between two backward passes")
            return
        asked = asked or _written_out(tensor, outputs)
        outputs = outputs.detach()
        why_not = self._why_no_loss(loss, asked, outputs)
        if self._others and (why_not or not self._are_labels(asked[-1].target)):
            self.refuse("the model takes something else than one tensor, or than one and its labels")
            return
        if why_not:
            start, inputs = self.model, [*self.x, given.cpu()]
            self.refuse(why_not)
            self.start, self.inputs = start, [x for x in inputs if x.shape[1:] == given.shape[1:]]
            return
        target = asked[-1].target
        if target.ndim and len(target) == len(given) * max(1, len(target) // max(1, len(given))):
            self._keep(given, target.reshape(len(given), *_per_sample(target, len(given))))

    def _are_labels(self, target: torch.Tensor) -> bool:
        """Whether the second tensor that the model was given is what the loss was given."""
        ((self.labels_at, labels),) = self._others.items()
        return torch.equal(labels.flatten(), target.flatten())

    def _why_no_loss(self, loss: float, asked: list[_Asked], outputs: torch.Tensor) -> str:
        """Why the loss of a step can't be replayed; empty where it can."""
        if not asked:
            return "no loss function of torch was called between forward and backward"
        if len(asked) > 1:
            return "the loop adds several losses up"
        if not self._is_all_of(loss, float(asked[-1].value.mean())):
            return "the loop adds something to the loss function of torch, or weighs its batches"
        known = self.loss is not None or self._learn_loss(asked[-1], outputs)
        return "" if known else "what lies between the model's outputs and the loss is not known"

    def _is_all_of(self, loss: float, value: float) -> bool:
        """Whether what is learnt from is the value of the loss function, up to a factor that is the same in every batch."""
        if not (math.isfinite(loss) and math.isfinite(value)) or value == 0:
            return True
        factor = loss / value
        self._factor = factor if self._factor is None else self._factor
        return math.isclose(factor, self._factor, rel_tol=SAME_FACTOR)

    def _learn_loss(self, asked: _Asked, outputs: torch.Tensor) -> bool:
        name, values, target, settings, _ = asked
        if values.numel() != outputs.numel():
            return False
        for between, function in BETWEEN.items():
            if torch.allclose(
                function(outputs).reshape(values.shape).to(values.dtype), values, rtol=1e-4, atol=1e-5, equal_nan=True
            ):
                self.loss_name = " of ".join(part for part in (name, between) if part)
                paired = name in ELEMENTWISE and values.shape == target.shape
                sign = -1.0 if (self._factor or 1.0) < 0 else 1.0
                self.loss = functools.partial(_replayed, name, between, tuple(values.shape[1:]), settings, paired, sign)
                self.loss.__module__ = "torch.nn.functional"  # type: ignore[attr-defined]
                return True
        return False

    def _keep(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self._bytes += x.numel() * x.element_size()
        if self.x and (
            self.samples + len(x) > MOST_SAMPLES or self._bytes > MOST_BYTES or x.shape[1:] != self.x[0].shape[1:]
        ):
            self.close()
            return
        self.x.append(x.cpu())
        self.y.append(y.cpu())

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


def _per_sample(target: torch.Tensor, samples: int) -> tuple[int, ...]:
    """The shape of one sample's labels; token labels `(N·T,)` become `(T,)`."""
    return tuple(target.shape[1:]) if len(target) == samples else (len(target) // samples, *target.shape[1:])


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
    y, name = capture.y[0], capture.loss_name
    if any(name.startswith(known) for known in REGRESSION):
        return "regression"
    if name.startswith("binary"):
        return _task_of_shares(y, name)
    if y.ndim == 1:
        return "classification"
    if y.ndim == 2 and y.is_floating_point() and _several(torch.cat(capture.y)):
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
