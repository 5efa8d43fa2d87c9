"""A wait on something outside that has an end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` gives, or raises; it goes on in a thread of its own, that holds nobody up, when it takes longer.

    Raises:
        TimeoutError: when it does not come back within `seconds`.
    """
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), daemon=True).start()
    try:
        return done.result(timeout=seconds)
    except TimeoutError:
        if done.done():  # its own
            raise
        raise TimeoutError(f"no answer within {seconds:.0f} s") from None
