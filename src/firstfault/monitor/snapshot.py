"""A plain copy of any value, as it is now: bounded in size, quick to make, and the same for equal values.

Scalars, texts, lists and mappings stay what they are; an array becomes its type, its shape and its bytes. What is too
large is represented by a part, always the same one. Nothing is fetched from an accelerator.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

import msgspec

MOST_ITEMS = 1_000
"""Of a list or a mapping."""
MOST_BYTES = 64 * 1024
"""Of a text or an array."""
DEEPEST = 8
"""Levels of a tree: what lies deeper is told by its type."""
SAMPLED = 4_096
"""Numbers of an array that is too large, evenly spaced."""
ARRAY, PART = "~array", "~part"
_DATA = ("__dataclass_fields__", "__struct_fields__", "__pydantic_fields__", "__attrs_attrs__")
"""What classes have whose objects are data; any other object may be a whole model."""
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_LARGEST = 1 << 63


def snapshot(value: Any, depth: int = 0) -> Any:
    """A plain copy of a value."""
    kind = type(value)
    if kind is float or kind is bool or value is None:
        return value
    if kind is int:
        return value if -_LARGEST <= value < 2 * _LARGEST else str(value)
    if kind is str or kind is bytes:
        return value if len(value) <= MOST_BYTES else {PART: [len(value), value[:MOST_BYTES]]}
    if depth >= DEEPEST:
        return {PART: [_named(kind)]}
    if isinstance(value, Mapping):
        return _mapping(value, depth + 1)
    if isinstance(value, list | tuple):
        return _items(value, depth + 1)
    return _other(value, kind, depth)


def _mapping(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    copy = {
        key if type(key) is str else str(key): item
        if type(item) is float or (type(item) is str and len(item) < MOST_BYTES)
        else snapshot(item, depth)
        for key, item in itertools.islice(value.items(), MOST_ITEMS)
    }
    return copy if len(value) <= MOST_ITEMS else {PART: [len(value), copy]}


def _items(value: list[Any] | tuple[Any, ...], depth: int) -> Any:
    if len(value) > MOST_ITEMS:
        step = len(value) // MOST_ITEMS
        return {PART: [len(value), [snapshot(item, depth) for item in value[::step][:MOST_ITEMS]]]}
    return [item if type(item) is float else snapshot(item, depth) for item in value]


def _other(value: Any, kind: type, depth: int) -> Any:
    """An array, a tensor, a frame, or an object of which only the class is known."""
    try:
        if hasattr(value, "columns") and hasattr(value, "iloc"):
            return {"columns": [str(name) for name in value.columns[:MOST_ITEMS]], "rows": _frame(value)}
        if hasattr(value, "detach"):
            return _tensor(value.detach())
        if hasattr(value, "__array__"):
            return _array(value.__array__())
        if any(hasattr(kind, sign) for sign in _DATA):
            return _mapping({name: getattr(value, name) for name in _fields(value, kind)}, depth + 1)
    except Exception:  # a value's own methods may raise, and serving goes on
        return {PART: [_named(kind)]}
    return {PART: [_named(kind)]}


def _fields(value: Any, kind: type) -> list[str]:
    names = getattr(kind, "__struct_fields__", None) or getattr(kind, "__dataclass_fields__", None) or vars(value)
    return list(names)


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _frame(value: Any) -> Any:
    return snapshot(value.iloc[:SAMPLED].to_numpy().tolist(), 1)


def _tensor(value: Any) -> Any:
    if str(value.device) != "cpu":  # fetching it would wait for the accelerator
        return {PART: [f"{value.dtype} on {value.device}", list(value.shape)]}
    if str(value.dtype) == "torch.bfloat16":
        value = value.float()
    return _array(value.numpy())


def _array(value: Any) -> Any:
    if value.dtype.kind not in "biufc":
        return snapshot(value.tolist(), 1)
    if value.ndim == 0:
        return value.item() if value.dtype.kind != "c" else str(value.item())
    whole = value.nbytes <= MOST_BYTES
    kept = value if whole else value.reshape(-1)[:: max(1, value.size // SAMPLED)][:SAMPLED]
    entry = [str(value.dtype), list(value.shape), kept.tobytes()]
    return {ARRAY: entry} if whole else {PART: entry}


def hash_of(copy: Any, key: bytes) -> str:
    """The keyed hash of a snapshot: 16 hexadecimal digits, after `~` where a part stands for a value."""
    try:
        encoded = _encoder.encode(copy)
    except OverflowError:  # a whole number of more than 64 bits, which JSON knows
        encoded = msgspec.json.encode(copy, order="deterministic")
    return ("~" if PART.encode() in encoded else "") + hashlib.blake2b(encoded, digest_size=8, key=key).hexdigest()


def readable(copy: Any) -> Any:
    """A snapshot as plain JSON has it: arrays of up to 1,000 numbers as nested lists, larger ones by their shape."""
    if isinstance(copy, dict):
        if len(copy) == 1 and ARRAY in copy:
            return _listed(copy[ARRAY])
        if len(copy) == 1 and isinstance(copy.get(PART), list):
            return {PART: [readable(item) for item in copy[PART] if not isinstance(item, bytes)]}
        return {key: readable(item) for key, item in copy.items()}
    if isinstance(copy, list):
        return [readable(item) for item in copy]
    return copy.decode("utf-8", "replace") if isinstance(copy, bytes) else copy


def _listed(entry: Any) -> Any:
    import numpy as np

    try:
        kind, shape, data = entry
        array = np.frombuffer(data, dtype=kind).reshape(shape)
    except (TypeError, ValueError):  # somebody's own mapping that has such a name
        return {PART: []}
    if array.size > MOST_ITEMS or array.dtype.kind == "c":
        return {PART: [kind, shape]}
    return array.tolist()


def decoded(value: Any) -> Any:
    """A value of a log or a span that is JSON within a text, as what it says; any other as it is."""
    if isinstance(value, bytes):
        return readable(snapshot(value))
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value
