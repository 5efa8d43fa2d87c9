"""Model assertions: the user's own functions of (input, output), which say how bad an answer is.

    @firstfault.monitor.assertion
    def positive_price(input, output):
        return output < 0                      # True, or a severity above 0: something is wrong

They run in the process of the analysis, never on the way of a request. One that raises is counted, and told.

Source: Kang, Raghavan, Bailis & Zaharia, Model assertions for monitoring and improving ML models (MLSys 2020).
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from firstfault.errors import FirstfaultError

logger = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
MOST_TOLD = 200


class Assertion:
    """One of the user's functions, and how often it raised."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function
        self.name = getattr(function, "__name__", "assertion")
        self.raised: Counter[str] = Counter()

    def severity(self, asked: Any, answered: Any) -> float:
        """How bad an answer is, 0 when it is not; NaN where the function can't say."""
        try:
            value = self.function(asked, answered)
            found = math.nan if value is None else float(value)
        except Exception as error:  # the user's own code
            self._note(error)
            return math.nan
        return max(0.0, found)

    def _note(self, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"[:MOST_TOLD]
        if not self.raised:
            logger.warning("the assertion %s raised: %s", self.name, told)
        self.raised[told] += 1


registered: list[Assertion] = []
"""The assertions of the files that were imported."""


def assertion(function: F) -> F:
    """Let a function of (input, output) say how bad an answer is; it stays what it is.

    Args:
        function: returns False or 0 where nothing is wrong, True or a severity above 0 where something is, and None
            where it can't say.
    """
    registered.append(Assertion(function))
    return function


def assertions_of(target: str = "", file: str = "") -> list[Assertion]:
    """The assertions that the file of a target, and a file of their own, have.

    Args:
        target: file.py:name or module:name.
        file: a Python file.

    Raises:
        TargetError: when one of them can't be imported.
        FirstfaultError: when the file of its own has none.
    """
    from firstfault.target.loader import import_place, load_target

    registered.clear()
    if target:
        load_target(target)
    before = len(registered)
    if file:
        import_place(file)
        if len(registered) == before:
            raise FirstfaultError(
                f"{file} must have a function of (input, output) under @firstfault.monitor.assertion, but has none"
            )
    return list(registered)
