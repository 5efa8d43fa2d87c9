"""A case asked again: its requests sent down the target's served path, and compared with what is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.behaviour.cases import Asked, Case, Request
from firstfault.behaviour.scorers import refuses
from firstfault.errors import Missing, UserCodeError, first_line, told
from firstfault.interrupts import pass_on
from firstfault.metrics import Array
from firstfault.subject.generation import answer_of
from firstfault.subject.offline import Offline
from firstfault.subject.replays import place_of
from firstfault.subject.served_answers import labels_of
from firstfault.subject.serving import served_of, serving_inputs, sound_training
from firstfault.subject.subject import Subject
from firstfault.texts import shown

CLOSE = 0.02
"""Of a prepared number, and of an output relative to the largest: float16 moves them by less."""
NUMBER = 0.01
"""A predicted number is right within this share of the deviation of the training's labels."""
MOST_SHOWN = 3
"""Wrong answers that a message quotes: one line of a test's report."""


@dataclass(frozen=True)
class Replay:
    """What came of it: how many were right of how many, where the first cut differs, and some that were wrong."""

    right: int
    asked: int
    refused: int = 0
    first_cut: str = ""
    examples: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """The share of right answers."""
        return self.right / max(self.asked, 1)

    def told(self, least: float) -> str:
        """What came of it, in a sentence."""
        words = f"{self.right} of {self.asked} requests are answered rightly, where {least:.0%} have to be"
        if self.refused:
            words += f" ({self.refused} are refused)"
        if self.examples:
            first = f"; the first cut that differs is {self.first_cut}" if self.first_cut else ""
            words += f"{first}; {'; '.join(self.examples)}"
        return words


def ask_again(subject: Subject, case: Case, requests: Sequence[Request]) -> Replay:
    """Send the requests of a case through what the target serves.

    Raises:
        Missing: when no request shows the fault, or the target serves nothing.
    """
    if case.asked is Asked.NOTHING or not requests:
        raise Missing(case.why or "no request shows it")
    if case.asked is Asked.REFUSALS:
        return _by_words(subject, requests)
    return _by_labels(subject, requests)


def _by_words(subject: Subject, requests: Sequence[Request]) -> Replay:
    """What is to be refused, and what is not."""
    wrong = []
    for request in requests:
        text = _answer(subject, request.raw)
        if refuses(text) != refuses(str(request.expected.get("label", ""))):
            wrong.append(f"{shown(request.raw)} → {shown(text)}")
    return Replay(len(requests) - len(wrong), len(requests), examples=tuple(wrong[:MOST_SHOWN]))


def _answer(subject: Subject, raw: Any) -> str:
    try:
        return answer_of(subject, raw)
    except Missing:
        raise
    except BaseException as error:
        pass_on(error)
        return f"generate raised {told(error)}"


def _by_labels(subject: Subject, requests: Sequence[Request]) -> Replay:
    truth = Offline(subject, sound_training(subject).model)
    answers = _answers(subject, truth, requests)
    wrong, refused = [], 0
    for request, (label, why) in zip(requests, answers, strict=True):
        refused += label is None
        if label is None and request.refusable:
            continue
        if label is None or not _same(truth, label, request.expected.get("label")):
            given = f"refused ({why})" if label is None else shown(label)
            wrong.append((request, f"{request.id}: {given} in place of {shown(request.expected.get('label'))}"))
    examples = tuple(text for _, text in wrong[:MOST_SHOWN])
    first = _first_cut(subject, truth, [request for request, _ in wrong]) if wrong else ""
    return Replay(len(requests) - len(wrong), len(requests), refused, first, examples)


Answer = tuple[Any, str]


def _answers(subject: Subject, truth: Offline, requests: Sequence[Request]) -> list[Answer]:
    """A label for each, or None and why it is refused: all at once, and one by one where that raises."""
    try:
        return [(label, "") for label in _labels(subject, truth, [request.raw for request in requests])]
    except (UserCodeError, Missing):
        return [_one(subject, truth, request) for request in requests]


def _one(subject: Subject, truth: Offline, request: Request) -> Answer:
    try:
        return _labels(subject, truth, [request.raw])[0], ""
    except UserCodeError as error:
        return None, first_line(error.__cause__ or error)
    except Missing as error:
        return None, str(error)


def _labels(subject: Subject, truth: Offline, raw: Sequence[Any]) -> list[Any]:
    outputs = served_of(subject).call(truth.framed(raw))
    if truth.task == "regression":
        return [float(value) for value in np.asarray(outputs, dtype=float).reshape(len(raw), -1)[:, 0]]
    return [_class_of(truth, int(each)) for each in labels_of(subject, outputs)]


def _class_of(truth: Offline, place: int) -> Any:
    return truth.classes[place] if 0 <= place < len(truth.classes) else place


def _same(truth: Offline, given: Any, right: Any) -> bool:
    if truth.task == "regression":
        return right is not None and abs(float(given) - float(right)) <= NUMBER * truth.scale
    places = {str(name): place for place, name in enumerate(truth.classes)}
    return place_of(given, places) == place_of(right, places)


def _first_cut(subject: Subject, truth: Offline, wrong: Sequence[Request]) -> str:
    """The first of the cuts tensor, logits and label at which a wrongly answered request differs from what is right."""
    raw = truth.framed([request.raw for request in wrong])
    try:
        tensor = np.asarray(serving_inputs(subject, raw).numpy(), dtype=float)
        if _differs(tensor, [request.expected.get("tensor") for request in wrong], CLOSE):
            return "tensor"
        outputs = served_of(subject).call(raw)
    except (Missing, UserCodeError):
        return ""
    if outputs.dtype.kind in "OUS":  # labels alone can be seen
        return "label"
    logits = [request.expected.get("logits") for request in wrong]
    return "logits" if _differs(np.asarray(outputs, dtype=float), logits, CLOSE) else "label"


def _differs(found: Array, right: Sequence[Any], close: float) -> bool:
    for row, expected in zip(found, right, strict=True):
        if expected is None:
            continue
        wanted = np.asarray(expected, dtype=float).reshape(-1)
        if wanted.size != row.size:
            return True
        scale = max(float(np.abs(wanted).max(initial=0.0)), 1.0)
        if np.abs(row.reshape(-1) - wanted).max(initial=0.0) > close * scale:
            return True
    return False
