"""What a line is given beside its message, as plain values of a bounded size, masked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from firstfault.logs.masking import Mask
from firstfault.texts import shown

MOST_LETTERS, MOST_ITEMS, MOST_DEPTH = 1024, 50, 4
"""Of one value: its letters, the items of each list or mapping in it, and how deep these nest."""
MOST_LABELS = 64
LARGEST = 2**63


def labels_of(fields: Mapping[str, Any], mask: Mask) -> dict[str, Any]:
    """Fields as ECS labels: no dots in their names, and no objects in their values, which become JSON as text."""
    labels = {}
    for name, value in list(fields.items())[:MOST_LABELS]:
        plain = _plain(str(name), value, mask, MOST_DEPTH)
        labels[str(name)[:MOST_LETTERS].replace(".", "_")] = _flat(plain)
    if len(fields) > MOST_LABELS:
        labels["left_out"] = len(fields) - MOST_LABELS
    return labels


def plain_value(name: str, value: Any, mask: Mask) -> Any:
    """A value as JSON can write it: text, number, truth value, list or object."""
    return _plain(name, value, mask, MOST_DEPTH)


def _flat(plain: Any) -> Any:
    if not isinstance(plain, list | dict):
        return plain
    text = json.dumps(plain, ensure_ascii=False)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"


def _plain(name: str, value: Any, mask: Mask, depth: int) -> Any:
    if (hidden := mask.named(name, value)) is not None:
        return hidden
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -LARGEST <= value < LARGEST else f"a number of {value.bit_length()} bits"
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, str):
        return mask.text(value, MOST_LETTERS)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return _nested(name, value, mask, depth)


def _nested(name: str, value: Any, mask: Mask, depth: int) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth == 0:
        return "…"
    if isinstance(value, Mapping):
        items = [item for item, _ in zip(value.items(), range(MOST_ITEMS), strict=False)]
        return {str(key)[:MOST_LETTERS]: _plain(str(key), item, mask, depth - 1) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(name, item, mask, depth - 1) for item, _ in zip(value, range(MOST_ITEMS), strict=False)]
    return _of_object(name, value, mask, depth)


def _of_object(name: str, value: Any, mask: Mask, depth: int) -> Any:
    """A scalar of numpy or torch as its number; anything else as its text."""
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        item = value.item()
        if isinstance(item, bool | int | float | str):
            return _plain(name, item, mask, depth)
    return mask.text(shown(value, str), MOST_LETTERS)
