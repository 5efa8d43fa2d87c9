"""The variables of frames of the user's code."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from itertools import islice
from types import FrameType
from typing import Any

MOST = 400
"""Variables of a frame or an object: bounds the time of a look."""


def variables_of(frames: Sequence[FrameType]) -> Iterator[Any]:
    """What is in reach of frames: their variables, the attributes of what they call `self`, and those of the module."""
    for frame in frames:
        values = locals_of(frame)
        yield from islice(values.values(), MOST)
        yield from islice(getattr(values.get("self"), "__dict__", {}).values(), MOST)
    if frames:
        yield from islice(frames[0].f_globals.values(), MOST)


def locals_of(frame: FrameType) -> dict[str, Any]:
    """The variables of a frame, of which it keeps no copy: that would hold the tensors of this step until its end."""
    values = frame.f_locals
    found = dict(values)
    if isinstance(values, dict) and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        values.clear()
    return found
