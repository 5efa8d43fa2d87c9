"""The rows of a fine-tuning: conversations read from wherever they are, and what of them is supervised."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstfault.errors import TargetError
from firstfault.lm.local import ids_in
from firstfault.metrics import IGNORED as IGNORED
from firstfault.target.language_model import Message

WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Row:
    """One training conversation, as it was given, with what its last turn says and what stands before."""

    given: Any
    messages: tuple[Message, ...]

    @property
    def prompt(self) -> str:
        """Everything before the last assistant's turn."""
        return "\n".join(message["content"] for message in self.messages[: self._last])

    @property
    def answer(self) -> str:
        """What the last assistant's turn says; of a plain text all of it."""
        return self.messages[self._last]["content"] if self.messages else ""

    @property
    def _last(self) -> int:
        turns = [place for place, message in enumerate(self.messages) if message["role"] == "assistant"]
        return turns[-1] if turns else len(self.messages) - 1


def read_rows(source: Any, root: Path) -> list[Row]:
    """The rows of a JSON-lines file, a list, or a function that gives one.

    Raises:
        TargetError: for a file that is not there, a line that is no JSON, or a row that is no conversation.
    """
    if isinstance(source, str | Path):
        given: Iterable[Any] = _lines(root / source)
    else:
        given = source() if callable(source) else source
    return [Row(value, _messages(value, number)) for number, value in enumerate(given, 1)]


def _lines(path: Path) -> list[Any]:
    if not path.is_file():
        raise TargetError(f"tuning.rows: there is no file {path}")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise TargetError(f"tuning.rows: line {number} of {path.name} must be JSON, but is not") from error
    return found


def _messages(value: Any, number: int) -> tuple[Message, ...]:
    if isinstance(value, str):
        return ({"role": "assistant", "content": value},)
    if isinstance(value, Mapping):
        turns = value.get("messages", value.get("conversation"))
        if isinstance(turns, Sequence) and turns and all(_is_message(turn) for turn in turns):
            return tuple(turns)
        asked = next((value[name] for name in ("prompt", "instruction", "question") if name in value), None)
        said = next((value[name] for name in ("completion", "response", "answer", "output") if name in value), None)
        if isinstance(asked, str) and isinstance(said, str):
            return ({"role": "user", "content": asked}, {"role": "assistant", "content": said})
        if isinstance(value.get("text"), str):
            return ({"role": "assistant", "content": value["text"]},)
    raise TargetError(
        f"tuning.rows: row {number} must be messages, prompt and completion, or a text, but got {str(value)[:60]}"
    )


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("role"), str) and isinstance(value.get("content"), str)


@dataclass(frozen=True)
class Prepared:
    """One prepared row: ids and the label of each, of equal length."""

    row: Row
    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def supervised(self) -> list[int]:
        """The places whose label counts; the first can't, since nothing stands before it."""
        return [place for place, label in enumerate(self.labels) if label != IGNORED and place]


def prepared(row: Row, value: Any) -> Prepared:
    """What the user's `prepare` made of a row.

    Raises:
        TargetError: where that is no mapping with ids and labels of one length.
    """
    if not isinstance(value, Mapping) or "input_ids" not in value or "labels" not in value:
        raise TargetError("tuning.prepare must return input_ids and labels, but got " + str(type(value).__name__))
    ids, labels = ids_in(value["input_ids"]), ids_in(value["labels"])
    if len(ids) != len(labels):
        raise TargetError(f"tuning.prepare must return as many labels as ids, but got {len(labels)} of {len(ids)}")
    return Prepared(row, tuple(ids), tuple(labels))


def shift_of(rows: Sequence[Prepared]) -> int:
    """By how many places labels are ahead of the ids: 0 where the model or its loss shifts them, 1 where rows do."""
    hits = {0: 0, 1: 0}
    for each in rows:
        for place in each.supervised:
            for shift in hits:
                hits[shift] += place + shift < len(each.ids) and each.labels[place] == each.ids[place + shift]
    return 1 if hits[1] > hits[0] else 0


def words(text: str) -> list[str]:
    """The words of a text, in small letters."""
    return WORD.findall(text.lower())


def grams(text: str, size: int) -> set[tuple[str, ...]]:
    """The runs of `size` words of a text."""
    found = words(text)
    return {tuple(found[start : start + size]) for start in range(len(found) - size + 1)}
