"""What a loop waits for: the batches of torch's loaders, and which rows they hold; and the schedulers that it calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Subset, dataloader

from firstfault.clock import unhindered_seconds
from firstfault.probe.capture import Capture
from firstfault.probe.code_lines import CodeLines
from firstfault.probe.phases import Phases
from firstfault.probe.record import Record
from firstfault.probe.row_tokenizer import tokenizer_beside
from firstfault.training.patching import replace

SCHEDULERS = [
    kind
    for kind in vars(lr_scheduler).values()
    if isinstance(kind, type) and issubclass(kind, LRScheduler) and "step" in vars(kind)
]
"""The base class, and those that don't ask it: ReduceLROnPlateau and such as call others."""


class Loading:
    """Times every batch that a torch DataLoader gives, and counts the calls of schedulers."""

    def __init__(
        self, record: Record, phases: Phases, capture: Capture | None, paused: Callable[[], bool], lines: CodeLines
    ) -> None:
        self._record, self._phases, self._capture, self._paused, self._lines = record, phases, capture, paused, lines
        self.batch: Any = None
        """The batch that was given last, to learn from."""
        self.tokenizer: Any = None
        """The tokenizer that a loader holds, where one does."""
        self._inside = False  # one scheduler may call others
        self._drawn: WeakKeyDictionary[Any, deque[Any]] = WeakKeyDictionary()  # ahead of the batches, with workers

    def patches(self) -> list[Callable[[], None]]:
        """Begin to look on; gives what ends it."""
        schedules = [replace(kind, "step", self._around_schedule) for kind in SCHEDULERS]
        following = replace(dataloader._BaseDataLoaderIter, "__next__", self._around_next)
        return [following, replace(dataloader._BaseDataLoaderIter, "_next_index", self._around_index), *schedules]

    def _around_index(self, draw: Callable[..., Any]) -> Callable[..., Any]:
        def observed(iterator: Any) -> Any:
            index = draw(iterator)
            if self._capture is not None and self._capture.open and not self._paused():
                self._drawn.setdefault(iterator, deque()).append(index)
            return index

        return observed

    def _note_rows(self, iterator: Any, batch: Any) -> None:
        """Tell the capture which rows of its dataset a batch holds, that may be learnt from."""
        if self._capture is not None and self._capture.open:
            drawn = self._drawn.get(iterator)
            rows = _rows(iterator._dataset, drawn.popleft()) if drawn else None
            if rows is not None and torch.is_grad_enabled():
                self._capture.drawn.append((rows, batch))

    def _around_next(self, following: Callable[..., Any]) -> Callable[..., Any]:
        def observed(iterator: Any) -> Any:
            if self._paused():
                return following(iterator)
            record = self._record
            self._phases.end("other")
            began, first = unhindered_seconds(), getattr(iterator, "_num_yielded", 0) == 0
            record.workers = max(record.workers or 0, getattr(iterator, "_num_workers", 0))
            try:
                batch = following(iterator)
                self._note_rows(iterator, batch)
                self.batch = batch if torch.is_grad_enabled() else None
                if first and self.tokenizer is None:
                    self.tokenizer = tokenizer_beside(iterator._collate_fn, iterator._dataset)
                if not first and torch.is_grad_enabled():
                    record.waits.add(record.steps, unhindered_seconds() - began)
                return batch
            except StopIteration:
                self.batch = None
                if self._capture is not None and self._capture.samples:
                    self._capture.close()  # the second pass repeats the first
                raise
            finally:
                self._phases.end("data")

        return observed

    def _around_schedule(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def observed(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            if self._inside or self._paused():
                return step(scheduler, *args, **kwargs)
            name, begins = type(scheduler).__name__, bool(getattr(scheduler, "_is_initial", False))
            self._record.schedulers[name] = self._record.schedulers.get(name, 0) + (not begins)
            self._lines.note("scheduler", scheduler)
            self._inside = True
            try:
                return step(scheduler, *args, **kwargs)
            finally:
                self._inside = False

        return observed


def _rows(dataset: Any, index: Any) -> list[int] | None:
    """The places of samples in the dataset that others are parts of; None where they have none."""
    try:
        rows = [int(each) for each in index]
        while isinstance(dataset, Subset):
            rows, dataset = [int(dataset.indices[row]) for row in rows], dataset.dataset
    except (TypeError, ValueError):
        return None
    return rows
