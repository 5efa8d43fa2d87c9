"""Whose exception it is: the user's code's own, or somebody's Ctrl-C and what ends a run from outside."""

from __future__ import annotations

import dis
import sysconfig
from pathlib import Path

ENDING = ("firstfault", "prefect", "_pytest")
"""Packages whose own BaseExceptions end a run, and are not the user's code's."""


def pass_on(error: BaseException) -> None:
    """Raise again what is no failure of the user's code: a Ctrl-C, and what firstfault or Prefect ends a run with.

    Everything else that the user's code may end with, a `sys.exit` or its own BaseException too, ends its part, and not
    the run.
    """
    if not of_user(error):
        raise error


def of_user(error: BaseException) -> bool:
    """Whether the user's code ended with it by itself."""
    if isinstance(error, Exception | SystemExit):
        return True
    if isinstance(error, KeyboardInterrupt):
        return not is_interrupt(error)
    if isinstance(error, GeneratorExit):  # of a generator that is closed, otherwise
        return _is_raised_by_user(error)
    return type(error).__module__.partition(".")[0] not in ENDING


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an exception is somebody's Ctrl-C, or was raised in its place.

    A `raise KeyboardInterrupt` in the user's own files is none.
    """
    while isinstance(error, KeyboardInterrupt):
        if not _is_raised_by_user(error):
            return True
        error = error.__context__
    return False


def _is_raised_by_user(error: BaseException) -> bool:
    """Whether a `raise` statement in a file that is neither installed nor part of Python made it.

    A signal comes out of any other instruction.
    """
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    installed = (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), str(Path(__file__).parent))
    return dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS" and not code.co_filename.startswith(installed)
