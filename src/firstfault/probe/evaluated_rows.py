"""Which of the rows that a model is evaluated on it has learnt from, and what the script calls them."""

from __future__ import annotations

import linecache
import re
import sys
from collections import deque
from functools import lru_cache
from types import FrameType
from typing import Any, NamedTuple

import torch

from firstfault.probe.code_lines import user_line
from firstfault.probe.record import Record
from firstfault.training.tensors import tensors_in

LEARNT_BATCHES, EVALUATED_BATCHES = 400, 100  # bound the memory, with 64 values of each row
VALUES = 64  # of a row
FEWEST_ROWS, LEAST_DISTINCT = 32, 0.5  # different ones of all evaluated rows, and of those of a batch
HELD_OUT = frozenset({"val", "vals", "valid", "validation", "validate", "test", "heldout", "holdout"})
TRAINING = frozenset({"train", "training", "tr"})
OF_TRAINERS = ("evaluation_loop", "validation_step", "test_step")
WEIGHTS = torch.randint(-(2**62), 2**62, (VALUES,), generator=torch.Generator().manual_seed(0)) | 1
"""Odd, and the same in every run: the hash of a row is the sum of its values by them."""
WORD = re.compile(r"[A-Za-z_]\w*")
LINES, FOREIGN = 2, "site-packages"
"""The user's innermost lines, which may name the split; and where code of others lies."""
LOOP = re.compile(r"\s*(async\s+)?for\b")


class _Evaluated(NamedTuple):
    rows: list[torch.Tensor]
    learnt: int  # batches before it
    called: str


class EvaluatedRows:
    """Keeps rows of the first batches that are learnt from, and of the last that are evaluated in eval mode.

    While a loop runs, up to 64 values of a row are copied, of each tensor of a call; they are hashed at its end.
    """

    def __init__(self) -> None:
        self._learnt: list[list[torch.Tensor]] = []
        self._evaluated: deque[_Evaluated] = deque(maxlen=EVALUATED_BATCHES)
        self._calls: dict[tuple[tuple[str, int], ...], str] = {}

    def learns(self, args: Any) -> None:
        """A model is called with gradients on."""
        if len(self._learnt) < LEARNT_BATCHES and (rows := _copied(args)):
            self._learnt.append(rows)

    def evaluates(self, args: Any) -> None:
        """A model was called without gradients, in eval mode."""
        if self._learnt and (rows := _copied(args)):
            self._evaluated.append(_Evaluated(rows, len(self._learnt), self._called()))

    def _called(self) -> str:
        """`held-out` or `training`, where the two innermost lines of the user's, or their trainer, say so."""
        frames = _frames()
        lines = tuple((frame.f_code.co_filename, frame.f_lineno) for frame in frames)
        if lines not in self._calls:
            words = {word for frame in frames for word in _words(frame)}
            self._calls[lines] = "held-out" if words & HELD_OUT else "training" if words & TRAINING else ""
        return self._calls[lines]

    def note(self, record: Record) -> None:
        """Put into the record, by what the script calls them, how many batches were evaluated, and of how many it had
        learnt.
        """
        if not self._evaluated:  # then nothing is asked of what was learnt
            return
        learnt, first = [_hashed(rows) for rows in self._learnt], dict[int, int]()
        for number, rows in enumerate(learnt):
            for row in rows:
                first.setdefault(row, number)
        alike = all(rows == learnt[0] for rows in learnt[1:])
        evaluated = [(batch, _hashed(batch.rows)) for batch in self._evaluated]
        if alike or not _varied([rows for _, rows in evaluated]):
            return
        for batch, numbers in evaluated:
            known = sum(first.get(row, LEARNT_BATCHES) < batch.learnt for row in numbers)
            seen = record.evaluated.setdefault(batch.called, {"batches": 0, "learnt": 0, "rows": 0})
            seen["batches"] += 1
            seen["rows"] += len(numbers)
            seen["learnt"] += known > len(numbers) / 2


def _varied(batches: list[list[int]]) -> bool:
    """Whether rows are samples, and no states or words, that come again by themselves."""
    within = sum(len(set(rows)) for rows in batches) / max(1, sum(map(len, batches)))
    return len({row for rows in batches for row in rows}) >= FEWEST_ROWS and within > LEAST_DISTINCT


def _copied(args: Any) -> list[torch.Tensor]:
    """Some values of each sample of a call; none where its tensors can't be read so."""
    found = [value for value in tensors_in(args) if value.ndim]
    size = max([value.shape[0] for value in found], default=0)
    if size == 0:
        return []
    try:
        return [_part(value.detach()).clone() for value in found if value.shape[0] == size]
    except Exception:  # the user's training goes on, whatever its inputs are
        return []


def _part(value: torch.Tensor) -> torch.Tensor:
    """Values that lie evenly in each axis of a row."""
    index = _index(value.shape[1:])
    return value[index] if index is not None else value


@lru_cache(256)
def _index(row: torch.Size) -> tuple[slice, ...] | None:
    """The index of these values by the shape of a row; None where they are all."""
    axes = sum(length > 1 for length in row)
    most = int(VALUES ** (1 / max(1, axes)) + 1e-9)
    distances = [-(-length // most) or 1 for length in row]
    return None if set(distances) <= {1} else (slice(None), *(slice(None, None, distance) for distance in distances))


def _hashed(parts: list[torch.Tensor]) -> list[int]:
    """A whole number for each sample."""
    try:
        return torch.stack([(number + 1) * _hash(part.cpu()) for number, part in enumerate(parts)]).sum(0).tolist()
    except Exception:  # numbers of a kind that has no hash, as complex ones
        return []


def _hash(part: torch.Tensor) -> torch.Tensor:
    rows = part.reshape(len(part), -1)
    whole = rows.float().contiguous().view(torch.int32) if rows.is_floating_point() else rows
    return (whole.long() * WEIGHTS[: rows.shape[1]]).sum(1)


def _frames() -> list[FrameType]:
    """Those of the two innermost lines of the user's, with comprehensions in them, and of a trainer's evaluation
    within.
    """
    line, frame = user_line(), sys._getframe(1)
    found: list[FrameType] = []
    lines = 0
    while frame is not None and lines < LINES:
        code = frame.f_code
        users = (found or (line is not None and code.co_filename == line.file)) and FOREIGN not in code.co_filename
        if users or code.co_name in OF_TRAINERS:
            found.append(frame)
            lines += bool(users) and not code.co_name.startswith("<")
        frame = frame.f_back  # type: ignore[assignment]
    return found


def _words(frame: FrameType) -> list[str]:
    """The parts of the names in a line, and in the `for` around it; a name that has both kinds says neither."""
    if frame.f_code.co_name in OF_TRAINERS:
        return ["validation"]
    file, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, number)
    depth = len(text) - len(text.lstrip())
    for above in range(number - 1, frame.f_code.co_firstlineno - 1, -1):
        line = linecache.getline(file, above)
        if line.strip() and (own := len(line) - len(line.lstrip())) < depth:
            depth = own
            if LOOP.match(line):
                text += line
                break
    text = re.sub(r"#.*", "", text).replace(".train(", "(")
    names = [set(re.split(r"_+|(?<=[a-z])(?=[A-Z])", name)) for name in WORD.findall(text)]
    told = [{part.lower() for part in name} for name in names]
    return [part for name in told if not (name & HELD_OUT and name & TRAINING) for part in name]
