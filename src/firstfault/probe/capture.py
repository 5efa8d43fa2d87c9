"""What a loop trains on: the model as it began, its first batches, its loss and its optimizer, kept to be replayed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from firstfault.probe.captured_loss import SAME_FACTOR, Asked, as_one, asked_as_usual, learnt_loss, written_out
from firstfault.probe.seen_models import SeenModels, lacks_names
from firstfault.training.call_tree import Arguments
from firstfault.training.input_forms import as_labels
from firstfault.training.losses import LOSSES
from firstfault.training.one_tensor import Answer, answers_in
from firstfault.training.tensors import tensors_in

MOST_SAMPLES = 2_000
"""Bounds the time of a replay; a share of the fifth that it holds out errs by 0.025 at most."""
MOST_BYTES = 64_000_000
"""Bounds the memory that a watched loop needs beside its own."""
MOST_AHEAD = 4
"""Batches that a loader may be ahead: trainers draw one or two, to know which is the last."""


class Capture:
    """The first pass of a loop over its data, at most 2,000 samples; `why_not` says why it can't be replayed, if so.

    `seen` are the models as they began, with some of their inputs, also where the loop can't be replayed. `rows` are,
    by batch, the places of its samples in its loader's dataset; `drawn` are those of the batches that a loader gave
    last, with what they hold: the loader of a trainer is a batch ahead of its loop.
    """

    def __init__(self) -> None:
        self.model: nn.Module | None = None
        self.why_not = ""
        self.seen = SeenModels()
        self.calls: list[Arguments] = []
        self.targets: list[torch.Tensor] = []
        self.sizes: list[int] = []
        self.rows: list[list[int] | None] = []
        self.drawn: deque[tuple[list[int], Any]] = deque(maxlen=MOST_AHEAD)
        self.answer = Answer()
        self.loss: Callable[..., Any] | None = None
        self.loss_name = ""
        self.optimizer: tuple[type, dict[str, Any]] | None = None
        self.open = True
        self._root: nn.Module | None = None
        self._given: Arguments | None = None
        self._met = False
        self._outputs: list[torch.Tensor] = []
        self._asked: list[Asked] = []
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
        self.calls, self.targets, self.sizes, self.rows, self.model = [], [], [], [], None
        self._forget()

    def close(self) -> None:
        """Take no more batches."""
        self.open = False
        self.drawn.clear()
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
        self.seen.called(model, given)
        if not self.open:
            return
        if self._root is not None and model is not self._root:
            self.refuse("the loop trains several models")
            return
        if self._root is None:
            self._root = model
            seen = self.seen.of(model)
            if seen is None:
                self.refuse(self.seen.why_not(model))
                return
            self.model = seen.start
            self._met = not given.tensors and not given.opaque
        if not self._met and not given.tensors and not given.opaque:
            self.refuse("the model is given no tensor")
            return
        self._given = given

    def wants(self, model: nn.Module) -> bool:
        """Whether calls of a model are to be told."""
        return self.open or self.seen.wants(model)

    def answered(self, model: nn.Module, outputs: Any) -> None:
        """A model answered."""
        found = list(answers_in(outputs))
        self.seen.answered(model, len(found[0]) if found else 0)
        if model is not self._root or not self.open:
            return
        self._outputs = found
        if not found:
            self.refuse("the model returns no tensor")

    def asked(self, name: str, given: Mapping[str, Any], result: Any) -> None:
        """A loss function of torch was called with gradients on."""
        if not self.open or name not in LOSSES:
            return
        outputs, target = given.get("input"), given.get("target")
        if isinstance(outputs, torch.Tensor) and isinstance(target, torch.Tensor):
            settings = {key: value for key, value in given.items() if key not in ("input", "target")}
            self._asked.append(asked_as_usual(name, outputs.detach(), target.detach(), settings, result.detach()))

    def learnt(self, loss: float, tensor: torch.Tensor) -> None:
        """A backward pass begins with this loss: the batch is complete, if one loss was asked about the model's
        outputs, and this is it.
        """
        try:
            self._learnt(loss, tensor)
        except Exception as error:
            self.refuse(f"what lies between the model and its loss can't be followed: {type(error).__name__}")

    def _learnt(self, loss: float, tensor: torch.Tensor) -> None:
        asked, given, outputs = as_one(self._asked, loss), self._given, self._outputs
        self._forget()
        if self._met:  # by a call of which torch tells no named arguments
            self._met = False
            return
        if given is None or not outputs:
            self.refuse("no model was called between two backward passes")
            return
        asked = asked or written_out(tensor, outputs[0])
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

    def _why_no_loss(self, loss: float, asked: list[Asked], outputs: list[torch.Tensor]) -> str:
        """Why the loss of a step can't be replayed; empty where it can."""
        if not asked:
            return "no loss function of torch was called between forward and backward"
        if len(asked) > 1:
            return "the loop adds several losses up"
        if not self._is_all_of(loss, float(asked[-1].value.mean())):
            return "the loop adds something to the loss function of torch, or weighs its batches"
        known = self._knows_loss(asked[-1], outputs)
        return "" if known else "what lies between the model's outputs and the loss is not known"

    def _is_all_of(self, loss: float, value: float) -> bool:
        """Whether what is learnt from is the value of the loss function, up to a factor that is the same in every
        batch.
        """
        if not (math.isfinite(loss) and math.isfinite(value)) or value == 0:
            return True
        factor = loss / value
        self._factor = factor if self._factor is None else self._factor
        return math.isclose(factor, self._factor, rel_tol=SAME_FACTOR)

    def _knows_loss(self, asked: Asked, outputs: list[torch.Tensor]) -> bool:
        """Whether one of the model's answers is what the loss was given; it is learnt from the first batch."""
        if self.loss is not None:
            return True
        sign = -1.0 if (self._factor or 1.0) < 0 else 1.0
        for number, value in enumerate(outputs):
            if (found := learnt_loss(asked, value, number, sign)) is not None:
                self.loss_name, self.answer, self.loss = found.name, found.answer, found.function
                return True
        return False

    def _keep(self, given: Arguments, target: torch.Tensor, size: int) -> None:
        """Keep a batch; labels of positions are kept as a row per sample."""
        if lacks_names(self.calls, given):
            self.calls, self.targets, self.sizes, self.rows = [], [], [], []
        if self.answer.classes_last or self.answer.flat:
            target = target.flatten(1)
        self._bytes += sum(value.numel() * value.element_size() for value in given.tensors)
        if len(self.calls) > 1 and _same(given, self.calls[0]):
            self.close()  # the second pass repeats the first
            return
        others = given.is_one_tensor and self.calls and given.tensors[0].shape[1:] != self.x[0].shape[1:]
        if self.calls and (self.samples + size > MOST_SAMPLES or self._bytes > MOST_BYTES or others):
            self.close()
            return
        self.calls.append(given.on_cpu())
        self.targets.append(target.cpu())
        self.sizes.append(size)
        self.rows.append(self._rows_of([*given.tensors, target], size))

    def _rows_of(self, held: list[torch.Tensor], size: int) -> list[int] | None:
        """The places of the samples of a batch: of the drawn ones, of that which holds the most of it, the first."""
        fitting = [drawn for drawn in self.drawn if len(drawn[0]) == size]
        if not fitting:
            self.drawn.clear()
            return None
        chosen = max(fitting, key=lambda drawn: _shared(held, drawn[1])) if len(fitting) > 1 else fitting[0]
        while self.drawn.popleft() is not chosen:
            pass
        return chosen[0]

    def stepped(self, optimizer: Any) -> None:
        """An optimizer is about to step."""
        if self.optimizer is None:
            first = optimizer.param_groups[0]
            known = {name: first.get(name, value) for name, value in optimizer.defaults.items()}
            self.optimizer = (
                type(optimizer),
                {name: value for name, value in known.items() if name in _parameters(type(optimizer))},
            )


def _shared(held: list[torch.Tensor], batch: Any) -> int:
    """How many tensors a batch shares with what a step was given."""
    known = list(tensors_in(batch))
    return sum(any(torch.equal(value.cpu(), each.cpu()) for each in known) for value in held)


def _same(given: Arguments, first: Arguments) -> bool:
    """Whether a call has the samples of the first."""
    pairs = zip(given.tensors, first.tensors, strict=False)
    return bool(given.tensors) and all(torch.equal(value.cpu(), known) for value, known in pairs)


def _parameters(kind: type) -> set[str]:
    import inspect

    return set(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]
