"""What the arguments of a declaration must be, and the sentence where they are not."""

from __future__ import annotations

from typing import Any

from firstfault.errors import TargetError


def expect(holds: bool, name: str, value: Any, expected: str) -> None:
    """What `name` must be.

    Raises:
        TargetError: where it does not hold.
    """
    if not holds:
        raise TargetError(f"{name} must be {expected}, but got {_brief(value)}")


def expect_whole(name: str, value: Any) -> None:
    """A whole number of at least 1."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    expect(whole, name, value, "a whole number of at least 1")


def expect_callable(name: str, value: Any, expected: str = "a callable or None") -> None:
    """Something to call, or None."""
    expect(value is None or callable(value), name, value, expected)


def expect_preprocess(name: str, value: Any) -> None:
    """One step of preprocessing, or several with names."""
    expected = "an object with fit and transform, a list of (name, step), or a function X -> X"
    if isinstance(value, list | tuple):
        for step in value:
            expect(isinstance(step, list | tuple) and len(step) == 2 and isinstance(step[0], str), name, step, "a list of (name, step)")
            expect(hasattr(step[1], "transform") or callable(step[1]), f"{name} step {step[0]!r}", step[1], expected)
        return
    expect(value is None or hasattr(value, "transform") or callable(value), name, value, expected)


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
