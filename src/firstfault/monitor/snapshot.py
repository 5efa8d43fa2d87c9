"""A plain copy of any value, as it is now: bounded in size, quick to make, and the same for equal values.

Scalars, texts, lists and mappings stay what they are; an array becomes its type, its shape and its bytes. What is too
large is represented by a part, always the same one. Nothing is fetched from an accelerator, and nothing is converted
before its size is known.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import itertools
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

MOST_ITEMS = 1_000
"""Of a list or a mapping."""
MOST_BYTES = 64 * 1024
"""Of all that a value holds: half a millisecond of the request that waits for the copy, measured on a table."""
NUMBER_BYTES = 8
"""For which an item of a list or a mapping counts, beside the texts in it."""
LARGEST_BITS = 1_024
"""Of a whole number that is written out: Python refuses some thousand digits, and takes long for fewer."""
DEEPEST = 8
"""Levels of a tree: what lies deeper is told by its type."""
SAMPLED = 4_096
"""Numbers of an array that is too large, evenly spaced."""
ARRAY, PART = "~array", "~part"
_SAID = (decimal.Decimal, datetime.date, datetime.time, datetime.timedelta, uuid.UUID)
"""What is its text, as it is in JSON."""
_DATA = ("__dataclass_fields__", "__struct_fields__", "__pydantic_fields__", "__attrs_attrs__")
"""What classes have whose objects are data; any other object may be a whole model."""
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_LARGEST = 1 << 63


def snapshot(value: Any) -> Any:
    """A plain copy of a value; its type where its own methods raise, or another thread changes it meanwhile."""
    try:
        return _Copying().of(value, 0)
    except Exception:  # serving goes on
        return {PART: [_named(type(value))]}


class _Copying:
    """One value that is being copied, and how many bytes it may still have."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MOST_BYTES

    def of(self, value: Any, depth: int) -> Any:
        """The copy of what lies so deep in the value."""
        kind = type(value)
        if kind is float or kind is bool or value is None:
            return value
        if kind is int:
            return _whole_number(value)
        if kind is str or kind is bytes:
            return self._text(value)
        if depth >= DEEPEST:
            return {PART: [_named(kind)]}
        if isinstance(value, Mapping):
            return self._mapping(value, depth + 1)
        if isinstance(value, list | tuple):
            return self._items(value, depth + 1)
        try:
            return self._other(value, kind, depth)
        except Exception:  # one value of many: the others are copied
            return {PART: [_named(kind)]}

    def _text(self, value: str | bytes) -> Any:
        left, self.left = max(0, self.left), self.left - len(value)
        return value if len(value) <= left else {PART: [len(value), value[:left]]}

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        size, copy = len(value), {}
        self.left -= NUMBER_BYTES * min(size, MOST_ITEMS)
        for key, item in itertools.islice(value.items(), MOST_ITEMS):
            name = key if type(key) is str else str(key)
            if type(item) is float:
                copy[name] = item
            elif self.left <= 0:
                break
            else:
                copy[name] = self.of(item, depth)
        self.left -= (named := sum(map(len, copy)))
        if named > MOST_BYTES:
            return {PART: [size]}
        return copy if len(copy) == size else {PART: [size, copy]}

    def _items(self, value: list[Any] | tuple[Any, ...], depth: int) -> Any:
        """The items of a list; of a long one a thousand, evenly spaced."""
        size, copy = len(value), []
        self.left -= NUMBER_BYTES * min(size, MOST_ITEMS)
        for item in value if size <= MOST_ITEMS else value[:: size // MOST_ITEMS][:MOST_ITEMS]:
            if type(item) is float:
                copy.append(item)
            elif self.left <= 0:
                break
            else:
                copy.append(self.of(item, depth))
        return copy if len(copy) == size else {PART: [size, copy]}

    def _other(self, value: Any, kind: type, depth: int) -> Any:
        """An array, a tensor, a frame, or an object of which only the class is known."""
        if isinstance(value, _SAID):
            return str(value)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return _whole_number(int(value))
        if hasattr(value, "columns") and hasattr(value, "to_numpy"):
            return self._frame(value)
        if "cpu" not in (device := str(getattr(value, "device", "cpu")).lower()):
            return {PART: [f"{value.dtype} on {device}", list(value.shape)]}  # fetching it would wait for that
        if hasattr(value, "detach"):
            return self._tensor(value.detach())
        if hasattr(value, "__array__"):
            return self._converted(value, kind)
        if any(hasattr(kind, sign) for sign in _DATA):
            return self._mapping({name: getattr(value, name) for name in _fields(value, kind)}, depth + 1)
        return {PART: [_named(kind)]}

    def _frame(self, value: Any) -> Any:
        names, size = list(value.columns), len(value)
        rows = min(size, MOST_ITEMS, max(1, self.left // (NUMBER_BYTES * max(1, len(names)))))
        copy = self._items(value[:rows].to_numpy().tolist(), 1)
        return {
            "columns": [str(name) for name in names[:MOST_ITEMS]],
            "rows": copy if rows == size else {PART: [size, copy]},
        }

    def _tensor(self, value: Any) -> Any:
        if str(value.dtype) == "torch.bfloat16":  # which numpy does not know
            if value.nbytes > self.left:
                return {PART: [str(value.dtype), list(value.shape)]}
            value = value.float()
        return self._array(value.numpy())

    def _converted(self, value: Any, kind: type) -> Any:
        """What can make an array of itself, if it is none that would take long."""
        if not hasattr(value, "strides") and getattr(value, "nbytes", 0) > MOST_BYTES:
            return {PART: [_named(kind), list(getattr(value, "shape", ()))]}
        return self._array(value.__array__())

    def _array(self, value: Any) -> Any:
        if value.dtype.kind not in "biufc":
            few = value if value.size <= MOST_ITEMS else value.flat[:: value.size // MOST_ITEMS][:MOST_ITEMS]
            copy = self.of(few.tolist(), 1)
            return copy if few is value else {PART: [str(value.dtype), list(value.shape), copy]}
        if value.ndim == 0:
            return value.item() if value.dtype.kind != "c" else str(value.item())
        left, self.left = self.left, self.left - value.nbytes
        if value.nbytes <= left:
            return {ARRAY: [str(value.dtype), list(value.shape), value.tobytes()]}
        most = max(0, min(SAMPLED, left // value.itemsize))
        kept = value.flat[:: max(1, value.size // SAMPLED)][:most]
        return {PART: [str(value.dtype), list(value.shape), kept.tobytes()]}


def _whole_number(value: int) -> Any:
    if -_LARGEST <= value < 2 * _LARGEST:
        return value
    return str(value) if value.bit_length() <= LARGEST_BITS else {PART: ["int", value.bit_length()]}


def _fields(value: Any, kind: type) -> list[str]:
    names = getattr(kind, "__struct_fields__", None) or getattr(kind, "__dataclass_fields__", None) or vars(value)
    return list(names)


def _named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


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
