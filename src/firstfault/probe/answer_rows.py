"""Which rows of a model's answer a loss is given, and of which rows its labels are: of a graph, both are chosen."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from types import ModuleType
from typing import Any

import torch

from firstfault.probe.code_lines import user_frames, user_line
from firstfault.probe.record import OtherRows, Record
from firstfault.probe.variables import variables_of
from firstfault.training.answers import answers_in
from firstfault.training.tensors import tensors_in

FEWEST, MOST = 16, 8_192  # rows of a loss: labels of fewer fit others by chance; bounds the time
MOST_LOOKS = 3  # at calls of which nothing could be told
MOST_CALLS = 4  # of models, in a step: bounds the memory
FRAMES = 3  # of the user's, the innermost: where rows are chosen
MOST_ITEMS = 20  # of a tuple or list that holds tensors


class AnswerRows:
    """Notes in the record a loss that is given some rows of an answer `(N, …)`, and labels of other rows.

    The rows are told from their values. A tensor `(N,)` among the user's variables that holds the same labels at these
    rows clears the loss; one that holds them at the rows of an index or a mask, and not at these, convicts it, unless
    the inputs were reordered by that index too.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._given: deque[tuple[list[torch.Tensor], list[torch.Tensor]]] = deque(maxlen=MOST_CALLS)
        self._looks = MOST_LOOKS

    def answered(self, inputs: Any, outputs: Any) -> None:
        """A model answered, with gradients on, on a sampled step."""
        if self._looks:
            self._given.append((list(tensors_in(inputs)), [value.detach() for value in answers_in(outputs)]))

    def asked(self, outputs: torch.Tensor, target: torch.Tensor) -> None:
        """A loss of torch was asked, with gradients on, on a sampled step."""
        if (
            not self._looks
            or not outputs.ndim
            or target.ndim != 1
            or len(outputs) != len(target)
            or not FEWEST <= len(target) <= MOST
        ):
            return
        try:
            self._look(outputs.detach(), target.detach())
        except Exception:  # the user's training goes on, whatever its variables are
            self._looks = 0

    def _look(self, outputs: torch.Tensor, target: torch.Tensor) -> None:
        for inputs, answers in self._given:
            for answer in answers:
                rows = rows_of(outputs, answer)
                if rows is not None:
                    self._looks -= 1
                    self._compare(rows, len(answer), target.cpu(), inputs)
                    return

    def end_round(self) -> None:
        """The sampled step is over."""
        self._given.clear()

    def _compare(self, rows: torch.Tensor, size: int, target: torch.Tensor, inputs: list[torch.Tensor]) -> None:
        tensors = [value.detach().cpu() for value in _tensors() if value.ndim == 1 or len(value) == size]
        labels = [value for value in tensors if value.shape == (size,) and value.dtype == target.dtype]
        if bool((target == target[0]).all()) or any(torch.equal(value[rows], target) for value in labels):
            self._looks = 0
            return
        for index in _indices(tensors, size, len(rows)):
            if torch.equal(index, rows) or not any(torch.equal(value[index], target) for value in labels):
                continue
            given = [value.detach().cpu() for value in inputs if value.ndim and len(value) == size]
            if not any(_reordered(value, tensors, rows, index) for value in given if _is_plain(value)):
                self._record.other_rows = OtherRows(len(rows), int((index != rows).sum()), user_line())
            self._looks = 0
            return


def rows_of(part: torch.Tensor, answer: torch.Tensor) -> torch.Tensor | None:
    """The numbers of the rows of an answer `(N, …)` that make up a part of it; None where they can't be told."""
    if answer.ndim == 0 or not len(part) < len(answer) <= MOST or part.dtype != answer.dtype:
        return None
    if part[0].numel() != answer[0].numel() or not torch.isfinite(answer).all():
        return None
    known = {row.tobytes(): number for number, row in enumerate(answer.reshape(len(answer), -1).cpu().numpy())}
    found = [known.get(row.tobytes()) for row in part.reshape(len(part), -1).cpu().numpy()]
    if len(known) < len(answer) or any(number is None for number in found):
        return None
    return torch.tensor(found)


def _indices(tensors: Iterable[torch.Tensor], size: int, count: int) -> Iterator[torch.Tensor]:
    """What chooses as many of so many rows: numbers of rows, a mask, or the first ones."""
    yield torch.arange(count)
    for value in tensors:
        if value.dtype == torch.bool and value.shape == (size,) and int(value.sum()) == count:
            yield value.nonzero().flatten()
        elif value.dtype == torch.int64 and value.shape == (count,) and bool(((value >= 0) & (value < size)).all()):
            yield value


def _reordered(given: torch.Tensor, tensors: list[torch.Tensor], rows: torch.Tensor, index: torch.Tensor) -> bool:
    """Whether the inputs are those of another tensor in another order, in which rows and labels belong together."""
    return any(
        value.shape == given.shape and not torch.equal(value, given) and torch.equal(value[index], given[rows])
        for value in tensors
    )


def _tensors() -> Iterator[torch.Tensor]:
    """The tensors that are in reach of the user's innermost frames, or lie in what is."""
    seen = set()
    for value in variables_of(list(islice(user_frames(), FRAMES))):
        for tensor in _within(value):
            if _is_plain(tensor) and tensor.ndim and len(tensor) and id(tensor) not in seen:
                seen.add(id(tensor))
                yield tensor


def _within(value: Any) -> list[torch.Tensor]:
    """A tensor itself, those of a short tuple, of a mapping, and the attributes of an object."""
    if isinstance(value, ModuleType | type):
        return []
    if isinstance(value, tuple | list):
        items: Iterable[Any] = value[:MOST_ITEMS]
    elif isinstance(value, torch.Tensor):
        items = [value]
    else:
        items = islice((value if isinstance(value, dict) else getattr(value, "__dict__", {})).values(), MOST_ITEMS)
    return [item for item in items if isinstance(item, torch.Tensor)]


def _is_plain(value: torch.Tensor) -> bool:
    return value.layout == torch.strided
