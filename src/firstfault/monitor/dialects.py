"""What a request and its answer say, in the dialects that model servers speak.

plain JSON · MLflow's scoring (`/invocations`) · KServe V1 (`:predict`) · KServe V2 and Triton (`/v2/…/infer`) ·
OpenAI's chat and text completions, streamed or not
"""

from __future__ import annotations

import csv
import io
import re
import urllib.parse
from typing import Any, NamedTuple

import msgspec

from firstfault.monitor.confidence import confidence_of, confidence_of_tokens
from firstfault.monitor.record import Captured

_V2 = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/(?:infer|generate|generate_stream)$")
_V1 = re.compile(r"/v1/models/([^/:]+):(?:predict|explain)$")
_OPENAI = re.compile(r"/(?:chat/)?completions$")
_SSE_LINE = re.compile(r"\r\n|\n|\r")
"""What ends a line of an event stream; other breaks, as U+2028, may stand within its JSON."""
DEEPEST = 64
"""Levels of a body that is read: no request has so many, and Python ends soon after."""
_decode = msgspec.json.Decoder().decode
NOTHING = object()


class Reading(NamedTuple):
    """What was asked and answered, as plain values; `NOTHING` where it can't be read."""

    dialect: str = ""
    model: str = ""
    version: str = ""
    inputs: Any = NOTHING
    outputs: Any = NOTHING
    asked: Any = NOTHING
    """The whole body of the request."""
    answered: Any = NOTHING
    confidence: float | None = None


def read(captured: Captured) -> Reading:
    """Read a request that came over HTTP."""
    asked = body_of(captured.request, captured.request_bytes, _type_of(captured))
    answered = body_of(captured.response, captured.response_bytes, captured.response_type)
    path = captured.path
    if (match := _V2.search(path)) is not None:
        return _v2(match, asked, answered)
    if _OPENAI.search(path) and isinstance(asked, dict):
        return _openai(captured, asked, answered)
    if (match := _V1.search(path)) is not None or path.endswith("/invocations"):
        return _scoring(match, asked, answered)
    return Reading(
        dialect="json" if isinstance(asked, dict | list) else "",
        inputs=asked,
        outputs=answered,
        asked=asked,
        answered=answered,
        confidence=confidence_of(answered),
    )


def _type_of(captured: Captured) -> bytes:
    return next((value for name, value in captured.headers if name == b"content-type"), b"")


def body_of(body: bytes, size: int, kind: bytes) -> Any:
    """A body as plain values; `NOTHING` where it is empty, cut off, or of no kind that is known."""
    if not body or size > len(body):
        return NOTHING
    kind = kind.partition(b";")[0].strip().lower()
    try:
        if kind.endswith(b"json") or (not kind and body[:1] in b"[{"):
            return _json(body)
        if kind == b"application/x-www-form-urlencoded":
            return dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        if kind == b"text/csv":
            return list(csv.DictReader(io.StringIO(body.decode()), restkey=""))
        if kind.startswith(b"text/"):
            return body.decode()
    except (ValueError, csv.Error, RecursionError):
        return NOTHING
    return NOTHING


def _json(body: bytes) -> Any:
    value = _decode(body)
    if body.count(b"[") + body.count(b"{") > DEEPEST and _is_too_deep(value):
        return NOTHING
    return value


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        items = (each.values() if type(each) is dict else each for each in level)
        level = [item for each in items for item in each if type(item) in (dict, list)]
        if not level:
            return False
    return True


def _field(value: Any, *names: str) -> Any:
    """The first of the fields that a mapping has."""
    if isinstance(value, dict):
        for name in names:
            if name in value:
                return value[name]
    return NOTHING


def _scoring(match: re.Match[str] | None, asked: Any, answered: Any) -> Reading:
    inputs = _field(asked, "dataframe_split", "dataframe_records", "instances", "inputs")
    if inputs is NOTHING:
        inputs = asked
    outputs = _field(answered, "predictions")
    if isinstance(inputs, dict) and {"columns", "data"} <= set(inputs):
        inputs = _rows(inputs)
    return Reading(
        "mlflow" if match is None else "kserve_v1",
        "" if match is None else match[1],
        "",
        inputs,
        answered if outputs is NOTHING else outputs,
        asked,
        answered,
        confidence_of(outputs),
    )


def _rows(table: dict[str, Any]) -> Any:
    columns, rows = table["columns"], table["data"]
    if not isinstance(columns, list) or not isinstance(rows, list):
        return table
    return [dict(zip(map(str, columns), row, strict=False)) if isinstance(row, list) else row for row in rows]


def _v2(match: re.Match[str], asked: Any, answered: Any) -> Reading:
    outputs = _tensors(answered, "outputs")
    version = _field(answered, "model_version")
    return Reading(
        "kserve_v2",
        match[1],
        version if isinstance(version, str) else match[2] or "",
        _tensors(asked, "inputs"),
        outputs,
        asked,
        answered,
        confidence_of(outputs),
    )


def _tensors(body: Any, name: str) -> Any:
    """The tensors of a V2 body by their names, each in its shape."""
    tensors = _field(body, name)
    if not isinstance(tensors, list):
        return body
    named = (tensor for tensor in tensors if isinstance(tensor, dict) and "data" in tensor)
    return {str(tensor.get("name", "")): _shaped(tensor["data"], tensor.get("shape")) for tensor in named}


def _shaped(data: Any, shape: Any) -> Any:
    """Flat data as rows, where a tensor has two dimensions."""
    if not (isinstance(shape, list) and len(shape) == 2 and isinstance(data, list) and data):
        return data
    width = shape[1]
    if isinstance(data[0], list) or not isinstance(width, int) or width < 1 or len(data) % width:
        return data
    return [data[at : at + width] for at in range(0, len(data), width)]


def _openai(captured: Captured, asked: dict[str, Any], answered: Any) -> Reading:
    if captured.response_type.startswith(b"text/event-stream"):
        answered = _joined(captured.response)
    inputs = {name: value for name, value in asked.items() if name in ("messages", "prompt", "tools", "system")}
    choices = _field(answered, "choices")
    model = _field(answered, "model")
    return Reading(
        "openai",
        str(asked.get("model", "")) if model is NOTHING else str(model),
        "",
        inputs,
        [_text(choice) for choice in choices] if isinstance(choices, list) else answered,
        asked,
        answered,
        confidence_of_tokens(choices),
    )


def _text(choice: Any) -> Any:
    message = _field(choice, "message", "delta")
    text = _field(choice, "text") if message is NOTHING else _field(message, "content")
    calls = _field(message, "tool_calls")
    return {"text": None if text is NOTHING else text, **({} if calls is NOTHING else {"tool_calls": calls})}


def _joined(stream: bytes) -> Any:
    """The chunks of a streamed answer as one answer; of a stream that was cut off, what is known of it."""
    texts: dict[int, list[str]] = {}
    whole: dict[str, Any] = {}
    parts = 0
    for line in _SSE_LINE.split(stream.decode("utf-8", "replace")):
        chunk = _chunk(line)
        if chunk is None:
            continue
        whole.update({name: chunk[name] for name in ("model", "id", "usage") if chunk.get(name)})
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            text = _text(choice)["text"]
            if isinstance(text, str) and text:
                parts += 1
                texts.setdefault(_index(choice), []).append(text)
    choices = [{"index": place, "text": "".join(texts[place])} for place in sorted(texts)]
    return {**whole, "choices": choices, "parts": parts}


def _index(choice: Any) -> int:
    index = _field(choice, "index")
    return index if isinstance(index, int) else 0


def _chunk(line: str) -> dict[str, Any] | None:
    if not line.startswith("data:") or line.endswith("[DONE]"):
        return None
    try:
        chunk = _decode(line[5:])
    except (ValueError, UnicodeEncodeError):
        return None
    return chunk if isinstance(chunk, dict) else None
