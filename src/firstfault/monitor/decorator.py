"""Any predict function, monitored: its arguments are the raw request, and what it returns is the label."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast, overload

from firstfault.logs import trace_context
from firstfault.monitor.capture import Capture, current, traceback_of
from firstfault.monitor.recorder import Recorder, recorder_of
from firstfault.monitor.settings import Settings, settings_of
from firstfault.monitor.snapshot import snapshot

P = ParamSpec("P")
R = TypeVar("R")


@overload
def monitored(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def monitored(**options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def monitored(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Record every call of a function, plain or async; what it returns or raises stays as it is.

    Within a request that a middleware records, a call adds its cuts and its time to that record.

    Args:
        function: the function, where no options are given.
        options: `model`, `version`, `store`, `sample` and the other settings of a monitor.

    Raises:
        FirstfaultError: when a setting is unknown or out of its range.
    """
    settings = settings_of(**options)
    return functools.partial(_monitored, settings) if function is None else _monitored(settings, function)


def _monitored(settings: Settings, function: Callable[P, R]) -> Callable[P, R]:
    recorder = recorder_of(settings)
    wrap = _async if inspect.iscoroutinefunction(function) else _plain
    return cast("Callable[P, R]", wrap(recorder, function, _own(function)))


def _own(function: Callable[..., Any]) -> int:
    """How many of the first arguments are the object whose method this is: a model is no request."""
    try:
        first = next(iter(inspect.signature(function).parameters), "")
    except (TypeError, ValueError):
        return 0
    return 1 if first in ("self", "cls") else 0


def _plain(recorder: Recorder, function: Callable[..., Any], own: int) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with _Call(recorder, arguments[own:], named) as observed:
            return observed.returned(function(*arguments, **named))

    return call


def _async(recorder: Recorder, function: Callable[..., Any], own: int) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*arguments: Any, **named: Any) -> Any:
        with _Call(recorder, arguments[own:], named) as observed:
            return observed.returned(await function(*arguments, **named))

    return call


class _Call:
    """One call: a record of its own, or a part of the request around it."""

    __slots__ = ("capture", "inner", "recorder")

    def __init__(self, recorder: Recorder, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.recorder = recorder
        outer = current.get()
        self.inner = outer is not None
        self.capture = outer or _begun(recorder.settings)
        self.capture.values.setdefault("raw", _raw(arguments, named))

    def __enter__(self) -> _Call:
        if not self.inner:
            self.capture.__enter__()
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        """Note what was raised, of which a handler may still make an answer; hand over, unless a middleware does so."""
        if error is not None:
            self.capture.error = traceback_of(error)
        if not self.inner:
            self.capture.__exit__(kind, error, where)
            self.recorder.take(self.capture.handed_over("function", 500 if self.capture.error else 200))

    def returned(self, result: Any) -> Any:
        """Note what the function returned, and give it back."""
        self.capture.values.setdefault("label", snapshot(result))
        return result


def _begun(settings: Settings) -> Capture:
    around = trace_context.current.get()
    return Capture(settings, None if around is None else around.header())


def _raw(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The arguments as one value: the only one itself, else all by place and name."""
    if len(arguments) == 1 and not named:
        return snapshot(arguments[0])
    return snapshot({**{str(place): value for place, value in enumerate(arguments)}, **named})
