"""Forward passes without gradients: in which mode they run, and whether they look like validation."""

from __future__ import annotations

from typing import Any

from torch import nn

from firstfault.probe.models import modal_parts
from firstfault.probe.record import Record
from firstfault.training.tensors import tensors_in


class Validation:
    """Counts the calls without gradients of models with dropout or batch statistics, and those in train mode."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._modal: dict[int, list[nn.Module]] = {}
        self._learning: set[int] = set()
        self._batch = 0

    def meet(self, model: nn.Module) -> None:
        """Learn which parts of a model behave otherwise in train mode."""
        self._modal[id(model)] = modal_parts(model)

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

    def called(self, model: nn.Module, args: Any) -> None:
        """A model was called without gradients."""
        if parts := self._modal.get(id(model)):
            self._record.validation_batches += 1
            self._record.validated_in_train_mode += any(part.training for part in parts)
            if self._batch:
                self._record.validation_size = max(self._record.validation_size, _rows(args) / self._batch)


def _rows(args: Any) -> int:
    return max((len(value) for value in tensors_in(args) if value.ndim), default=0)
