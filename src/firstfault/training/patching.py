"""Functions of torch put aside for ones that look on, and put back again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def replace(owner: object, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Put a function that `around` makes of an attribute in its place; gives what takes it back."""
    original = getattr(owner, name)
    setattr(owner, name, around(original))
    return lambda: setattr(owner, name, original)
