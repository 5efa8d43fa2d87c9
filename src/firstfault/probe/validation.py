"""The modes of models: in which one they are validated, and in which one they learn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from firstfault.probe.code_lines import CodeLines
from firstfault.probe.evaluated_rows import EvaluatedRows
from firstfault.probe.models import modal_parts
from firstfault.probe.record import Record
from firstfault.training.patching import replace
from firstfault.training.tensors import tensors_in


@dataclass
class _Learnt:
    """The batches that a model learnt from: in all, in eval mode, and in the eval mode of a validation."""

    batches: int = 0
    in_eval: int = 0
    left: int = 0


class Validation:
    """Counts the calls without gradients of models with dropout or batch statistics, and those in train mode."""

    def __init__(self, record: Record, names: Mapping[int, str], lines: CodeLines) -> None:
        self._record, self._modules, self._lines = record, names, lines
        self._norms: dict[int, tuple[Any, bool]] = {}  # normalisation with statistics, and whether it ever learnt them
        self._modal: dict[int, list[nn.Module]] = {}
        self._learning: set[int] = set()
        self._batch = 0
        self._names: dict[int, str] = {}
        self._told_to_train: set[int] = set()
        self._validated: set[int] = set()  # in eval mode, and not told to train since
        self._due: set[int] = set()  # validated in train mode, and not told to train since
        self._learnt: dict[int, _Learnt] = {}
        self._learners: set[int] = set()  # the parameters of models that learn, also by another name of theirs
        self._rows = EvaluatedRows()

    def meet(self, model: nn.Module) -> None:
        """Learn which parts of a model behave otherwise in train mode."""
        self._modal[id(model)] = modal_parts(model)
        self._names[id(model)] = type(model).__name__

    def drops(self, model: nn.Module) -> None:
        """A model calls a function of dropout: its own mode matters."""
        parts = self._modal.setdefault(id(model), [])
        if model not in parts:
            parts.append(model)

    def learns(self, model: nn.Module, args: Any) -> None:
        """A model is called with gradients on, in a step that is sampled."""
        self._learning.add(id(model))
        self._record.learning_models = len(self._learning)
        self._batch = max(self._batch, _rows(args))
        for part in self._modal.get(id(model), ()):
            if getattr(part, "running_mean", None) is not None:
                self._norms[id(part)] = part, part.training or self._norms.get(id(part), (part, False))[1]

    def learns_in(self, model: nn.Module, args: Any) -> None:
        """A model is called with gradients on."""
        self._rows.learns(args)
        if id(model) not in self._learnt:
            self._learners.update(map(id, model.parameters()))
        seen = self._learnt.setdefault(id(model), _Learnt())
        seen.batches += 1
        seen.in_eval += not model.training
        seen.left += not model.training and id(model) in self._validated
        self._record.learnt_untold |= id(model) in self._due

    def patch(self) -> Callable[[], None]:
        """Listen to what models are told about their mode."""
        return replace(nn.Module, "train", self._around_train)

    def _around_train(self, train: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(train)
        def observed(model: nn.Module, mode: bool = True) -> Any:
            if mode and id(model) in self._modal:
                self._told_to_train.add(id(model))
                self._validated.discard(id(model))
                self._due.discard(id(model))
            return train(model, mode)

        return observed

    def close(self) -> None:
        """Note the models that learnt in eval mode, by a validation or from the start, and norms that did alone.

        From the start it is a fault where a norm has the statistics of no data, and in a model that was told to train
        and then validated.
        """
        idle = {id(part): part for part, learnt in self._norms.values() if not learnt and _of_no_data(part)}
        for key, seen in self._learnt.items():
            own = [id(part) for part in self._modal.get(key, ()) if id(part) in idle]
            if own and seen.in_eval == seen.batches:
                self._record.left_in_eval[self._names[key]] = 1.0
                idle = {part: norm for part, norm in idle.items() if part not in own}
            elif key in self._told_to_train and self._modal.get(key) and seen.left:
                self._record.left_in_eval[self._names[key]] = seen.left / seen.batches
        self._rows.note(self._record)
        self._record.norms_in_eval = [self._modules.get(part, type(norm).__name__) for part, norm in idle.items()]

    def evaluates(self, model: nn.Module, args: Any) -> None:
        """A model is about to be called without gradients."""
        if not model.training and id(model) in self._learnt:
            self._rows.evaluates(args)

    def called(self, model: nn.Module, args: Any) -> None:
        """A model was called without gradients."""
        if parts := self._modal.get(id(model)):
            in_train_mode = any(part.training for part in parts)
            if not any(id(value) in self._learners for value in model.parameters()):
                self._record.others_in_train_mode += in_train_mode  # a teacher, or a mean of the weights
                return
            self._record.validation_batches += 1
            self._record.validated_in_train_mode += in_train_mode
            (self._due if in_train_mode else self._validated).add(id(model))
            if in_train_mode:
                self._lines.note("validation", model)
            if self._batch:
                self._record.validation_size = max(self._record.validation_size, _rows(args) / self._batch)


def _of_no_data(norm: Any) -> bool:
    return not bool(norm.running_mean.any()) and bool((norm.running_var == 1).all())


def _rows(args: Any) -> int:
    return max((len(value) for value in tensors_in(args) if value.ndim), default=0)
