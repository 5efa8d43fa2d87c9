"""What can go wrong outside a check: a bad call, a missing part, the user's code raising."""

from __future__ import annotations

import dis
import sysconfig
import traceback
from pathlib import Path

from firstfault.finding import Layer
from firstfault.texts import encodable


class FirstfaultError(Exception):
    """Base of the errors that end a command with one sentence and exit code 2."""


class TargetError(FirstfaultError):
    """The target, or a path, column or value in it, is not what firstfault can work with."""


class PrerequisiteError(FirstfaultError):
    """An optional dependency or a service is missing; the sentence says how to get it."""

    @classmethod
    def extra(cls, feature: str, extra: str) -> PrerequisiteError:
        """The error for a feature whose extra is not installed."""
        return cls(f"{feature} needs an optional dependency: pip install 'firstfault[{extra}]'")


class TrainingStopped(BaseException):
    """An action on a finding, or a violation of safety, ended the training; the message says at which step, and why.

    It is raised out of `optimizer.step()` or a data loader, and ends at the `with firstfault.watch(…)` that made it: the script goes on behind
    the block. As a KeyboardInterrupt, it is no `Exception`: a loop that forgives its steps every exception stops too.
    """


def pass_on(error: BaseException) -> None:
    """Raise again what is no failure of the user's code: somebody's Ctrl-C, and what firstfault or Prefect ends a run with.

    Everything else that the user's code may end with, a `sys.exit` or its own BaseException too, ends its part, and not the run.
    """
    if not of_user(error):
        raise error


def of_user(error: BaseException) -> bool:
    """Whether the user's code ended with it by itself."""
    if isinstance(error, Exception | SystemExit):
        return True
    if isinstance(error, KeyboardInterrupt):
        return not is_interrupt(error)
    if isinstance(error, GeneratorExit):                    # of a generator that is closed, otherwise
        return _is_raised_by_user(error)
    return type(error).__module__.partition(".")[0] not in ("firstfault", "prefect", "_pytest")


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an exception is somebody's Ctrl-C, or was raised in its place; a `raise KeyboardInterrupt` in the user's own files is none."""
    while isinstance(error, KeyboardInterrupt):
        if not _is_raised_by_user(error):
            return True
        error = error.__context__
    return False


def _is_raised_by_user(error: BaseException) -> bool:
    """Whether a `raise` statement in a file that is neither installed nor part of Python made it: a signal comes out of any other instruction."""
    trace = error.__traceback__
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    installed = (*map(sysconfig.get_path, ("stdlib", "purelib", "platlib")), str(Path(__file__).parent))
    return dis.opname[code.co_code[trace.tb_lasti]] == "RAISE_VARARGS" and not code.co_filename.startswith(installed)


class Missing(Exception):
    """A target does not declare this part; checks that need it are skipped with this reason."""


class UserCodeError(Exception):
    """The user's own code raised, or gave something that can't be worked with: a finding about `layer`, not a crash of firstfault.

    `part` is the part of the target that raised (`preprocess`, `model` …); `frame` is the last
    frame of the traceback in the user's own files, as `file.py:12 in build`, if there is one.
    A cause that is a `TargetError` says in its own sentence what was expected and what came.
    """

    def __init__(self, layer: Layer, part: str, cause: BaseException, root: Path) -> None:
        self.layer = layer
        self.part = part
        self.frame = user_frame(cause, root)
        place = f" at {self.frame}" if self.frame else ""
        super().__init__(str(cause) if isinstance(cause, TargetError) else f"{part} raised {type(cause).__name__}{place}: {first_line(cause)}")
        self.__cause__ = cause


def first_line(error: BaseException) -> str:
    """What an exception says, without the lines below its first."""
    try:
        text = str(error).strip()
    except BaseException as raised:
        return f"its message can't be shown, since {type(raised).__name__} was raised by it"
    return encodable(text or "no message").splitlines()[0]


def told(error: BaseException) -> str:
    """The class of an exception, and its first line."""
    return f"{type(error).__name__}: {first_line(error)}"


def user_frame(error: BaseException, root: Path) -> str | None:
    """The last frame of `error`'s traceback in a file below `root`, without installed packages."""
    root = root.resolve()
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and Path(frame.filename).resolve().is_relative_to(root)
        and not {"site-packages", ".venv"} & set(Path(frame.filename).parts)
        and Path(__file__).parent not in Path(frame.filename).resolve().parents
    ]
    if not frames:
        return None
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} in {last.name}"
