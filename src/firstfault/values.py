"""The plain values that rooms hand on: objects of JSON, and rows of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

Json = Mapping[str, Any]
"""An object of JSON. What its values are is said by the schema of who wrote it, which no type of Python follows."""
Row = Mapping[str, object]
"""A row of a table, cells by column, to be shown or written; a cell is a plain value."""


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a plain value is a number: JSON's truth values, which Python counts as whole numbers, are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> TypeGuard[int | float]:
    """Whether it is a number that is neither NaN nor without end."""
    return is_number(value) and math.isfinite(value)
