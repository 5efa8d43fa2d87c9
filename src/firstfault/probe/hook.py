"""A hook on a module that a copy or a pickle of the module does without."""

from __future__ import annotations

import contextlib
import functools
from typing import Any


class Hook(functools.partial[None]):
    """Calls a function; copied or pickled with its module, it becomes one of the standard library that does nothing."""

    def __reduce__(self) -> Any:
        return getattr, (contextlib.nullcontext(), "__exit__")
