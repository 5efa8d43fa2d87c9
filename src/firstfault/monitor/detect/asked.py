"""What a record says was asked and answered, as plain values: the first row of a request, and what was made of it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec

from firstfault.monitor.record import Record
from firstfault.values import is_number

INPUTS = ("dataframe_records", "instances", "inputs", "dataframe_split", "features", "input", "prompt", "messages")
OUTPUTS = ("label", "class", "prediction", "predictions", "outputs", "output", "result", "answer", "text", "choices")
SCORES = ("probabilities", "probas", "scores", "proba", "logits")
POSITIVE = ("probability", "score", "p")
PLAIN = frozenset({float, int, bool})
"""What numbers of a recorded answer nearly always are."""
OFF_ONE = 1e-3
"""Chances are told with three digits at least, so that they may add up to a little more or less than 1."""
_decode = msgspec.json.Decoder().decode


class Answer(NamedTuple):
    """What was answered: a class or a value, scores of classes where they are known, and text."""

    label: Any = None
    scores: tuple[float, ...] = ()
    text: str = ""


def asked(record: Record) -> Any:
    """The input of a request, of its first row where it has several; None where it is not known."""
    body = record.values.get("raw") if "raw" in record.values else decoded(record.request)
    return _unwrapped(body)


def _unwrapped(body: Any) -> Any:
    if isinstance(body, dict):
        if {"columns", "data"} <= body.keys() or {"columns", "rows"} <= body.keys():
            return _first_row(body["columns"], body.get("data", body.get("rows")))
        for name in INPUTS:
            if name in body and (len(body) == 1 or name in INPUTS[:4] or name == "messages"):
                return _messages(body[name]) if name == "messages" else _unwrapped(body[name])
        if len(body) == 1 and isinstance(value := next(iter(body.values())), dict) and "~part" not in body:
            return value
        return body
    if isinstance(body, list) and body and isinstance(body[0], dict | str):
        return _tensors(body) if isinstance(body[0], dict) and "data" in body[0] else body[0]
    if isinstance(body, list) and len(body) == 1 and isinstance(body[0], list):
        return body[0]
    return body


def _first_row(columns: Any, rows: Any) -> Any:
    if isinstance(columns, list) and isinstance(rows, list) and rows and isinstance(rows[0], list):
        return dict(zip(map(str, columns), rows[0], strict=False))
    return rows


def _tensors(tensors: list[Any]) -> Any:
    """KServe's tensors by their names, the first row of each."""
    found = {}
    for tensor in tensors:
        if isinstance(tensor, dict) and isinstance(data := tensor.get("data"), list) and data:
            shape = tensor.get("shape")
            width = shape[1] if isinstance(shape, list) and len(shape) == 2 and isinstance(shape[1], int) else 1
            first = data[0] if isinstance(data[0], list) else data[:width]
            found[str(tensor.get("name", ""))] = first if len(first) > 1 else first[0] if first else None
    return next(iter(found.values())) if len(found) == 1 else found


def _messages(messages: Any) -> Any:
    """What the user said last in a chat."""
    if not isinstance(messages, list):
        return messages
    said = [
        message.get("content") for message in messages if isinstance(message, dict) and message.get("role") == "user"
    ]
    return said[-1] if said else None


def answered(record: Record) -> Answer:
    """The answer to a request, of its first row where it has several."""
    body = record.values.get("label") if "label" in record.values else decoded(record.response)
    scores = _numbers(record.values.get("logits"))
    return _answer(body, scores)


def _answer(body: Any, scores: tuple[float, ...]) -> Answer:
    if isinstance(body, list):
        if not scores and len(body) > 1 and (numbers := _numbers(body)) and is_distribution(numbers):
            return Answer(largest(numbers), numbers)
        return _answer(body[0], scores) if body else Answer(scores=scores)
    if isinstance(body, dict):
        return _of_mapping(body, scores)
    if isinstance(body, str) and len(body) > 64:
        return Answer(None, scores, body)
    label = body if body is not None else largest(scores) if len(scores) > 1 else None
    return Answer(label, scores, body if isinstance(body, str) else "")


def _of_mapping(body: dict[str, Any], scores: tuple[float, ...]) -> Answer:
    for name in SCORES:
        if not scores and name in body:
            value = body[name]
            scores = _numbers(list(value.values()) if isinstance(value, dict) else value)
    for name in POSITIVE:
        if not scores and isinstance(value := body.get(name), int | float) and 0 <= value <= 1:
            scores = (float(value),)
    for name in OUTPUTS:
        if name in body:
            return _answer(body[name], scores)
    if len(body) == 1 and "~part" not in body:
        return _answer(next(iter(body.values())), scores)
    return Answer(largest(scores) if len(scores) > 1 else None, scores)


def largest(scores: tuple[float, ...]) -> int | None:
    """The place of the largest score, the first one where several are; None of none."""
    return max(range(len(scores)), key=scores.__getitem__) if scores else None


def _numbers(value: Any) -> tuple[float, ...]:
    """A list of finite numbers, of the first row where there are several; else nothing."""
    if is_number(value):
        value = [value]
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    if not isinstance(value, list) or not _are_numbers(value):
        return ()
    numbers = tuple(map(number, value))
    return numbers if all(map(math.isfinite, numbers)) else ()


def number(value: float) -> float:
    """A number as a float; infinite where it is a whole number too large for one, as anybody may send."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _are_numbers(values: list[Any]) -> bool:
    return PLAIN.issuperset(map(type, values)) or all(isinstance(value, int | float) for value in values)


def is_distribution(numbers: tuple[float, ...]) -> bool:
    """Whether scores are the chances of all classes."""
    return all(0 <= number <= 1 for number in numbers) and abs(sum(numbers) - 1) < OFF_ONE


def decoded(body: str) -> Any:
    """A body as what it says as JSON; a text that is none as it is; None of an empty one."""
    if not body:
        return None
    try:
        return _decode(body)
    except msgspec.DecodeError:
        return body


def plain(value: object) -> str:
    """A label as text that is the same however it is written."""
    if type(value) is int:
        return str(value)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return {"True": "1", "true": "1", "False": "0", "false": "0"}.get(text, text[:-2] if text.endswith(".0") else text)
