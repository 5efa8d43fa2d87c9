"""What is computed once of a subject: kept under the function that computes it, until what it depends on changes.

raw → prepared → model → trained        what depends on one of these goes when that one, or an earlier one, is replaced
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar, overload

from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.extras import missing_extra
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.runs import guard

Stage = Literal["raw", "prepared", "model", "trained"]
STAGES: tuple[Stage, ...] = ("raw", "prepared", "model", "trained")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class _Entry:
    stage: Stage
    value: Any


class Memos:
    """The values of one subject by memo and arguments; a failure to compute one is a value too, and raised again."""

    def __init__(self, entries: dict[Hashable, _Entry] | None = None) -> None:
        self._entries = entries or {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def __bool__(self) -> bool:
        return bool(self._entries)

    def peek(self, key: Hashable) -> Any:
        """The value, or the failure, under a key; None where there is none."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def put(self, key: Hashable, stage: Stage, value: Any) -> None:
        """Keep a value, or a failure."""
        self._entries[key] = _Entry(stage, value)

    def up_to(self, stage: Stage) -> Memos:
        """Those that depend on nothing later than `stage`."""
        kept = STAGES[: STAGES.index(stage) + 1]
        return Memos({key: entry for key, entry in self._entries.items() if entry.stage in kept})


class Memo(Generic[P, T]):
    """A function of a subject, or a property of its class, that is computed once per subject and arguments.

    `layer` is whose fault an unexpected exception or end of the process is, where the user's code runs inside; left
    out, an exception passes through.
    """

    def __init__(
        self, function: Callable[Concatenate[Any, P], T], stage: Stage, layer: Layer | None = None, said: str = ""
    ) -> None:
        self._function, self.stage, self._layer, self._said = function, stage, layer, said
        self.__name__ = function.__name__
        functools.update_wrapper(self, function)

    def __call__(self, subject: Any, *args: P.args, **kwargs: P.kwargs) -> T:
        key = self.key(*args, **kwargs)
        if key not in subject.memos:
            subject.memos.put(key, self.stage, self._try(subject, *args, **kwargs))
        value = subject.memos.peek(key)
        if isinstance(value, Exception):
            raise value
        return value  # type: ignore[no-any-return]

    def key(self, *args: object, **kwargs: object) -> Hashable:
        """What the value for some arguments is kept under."""
        return (self, args, tuple(sorted(kwargs.items()))) if args or kwargs else self

    @overload
    def __get__(self, subject: None, owner: type) -> Self: ...
    @overload
    def __get__(self, subject: object, owner: type | None = None) -> T: ...
    def __get__(self, subject: object | None, owner: type | None = None) -> Self | T:
        return self if subject is None else self(subject)  # type: ignore[call-arg]

    def _try(self, subject: Any, *args: P.args, **kwargs: P.kwargs) -> T | Exception:
        try:
            with guard.doing(self._layer.value) if self._layer is not None else contextlib.nullcontext():
                return self._function(subject, *args, **kwargs)
        except (Missing, UserCodeError, FirstfaultError) as known:
            return known
        except BaseException as error:
            if self._layer is None:
                raise
            pass_on(error)
            said, root = self._said or self._function.__name__, subject.target.root
            return missing_extra(error, self._said or "this", root) or UserCodeError(self._layer, said, error, root)


def memo(*, of: Stage) -> Callable[[Callable[Concatenate[Any, P], T]], Memo[P, T]]:
    """Keep what `f(subject, …)` returns until what it depends on is replaced; arguments must be hashable."""
    return lambda function: Memo(function, of)


def part(layer: Layer, said: str = "", *, of: Stage) -> Callable[[Callable[[Any], T]], Memo[[], T]]:
    """Declare a part of the subject; an unexpected exception in it is that of the user's code of `layer`."""
    return lambda function: Memo(function, of, layer, said)
