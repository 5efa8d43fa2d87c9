"""What can go wrong outside a check: a bad call, a missing part, the user's code raising."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.place import Kind, Place
from firstfault.texts import encodable


class FirstfaultError(Exception):
    """Base of the errors that end a command with one sentence and exit code 2."""


class TargetError(FirstfaultError):
    """The target, or a path, column or value in it, is not what firstfault can work with."""


class PrerequisiteError(FirstfaultError):
    """An optional dependency or a service is missing; the sentence says how to get it."""


class MissingExtra(PrerequisiteError):
    """A module that an extra brings is not installed: a command ends with the sentence, a check is skipped with it."""


class TrainingStopped(BaseException):
    """An action on a finding, or a violation of safety, ended the training; the message says at which step, and why.

    It is raised out of `optimizer.step()` or a data loader, and ends at the `with firstfault.watch(…)` that made it:
    the script goes on behind the block. As a KeyboardInterrupt, it is no `Exception`: a loop that forgives its steps
    every exception stops too.
    """


class Missing(Exception):
    """A target does not declare this part; checks that need it are skipped with this reason."""


_INSTALLED = {"site-packages", "dist-packages", ".venv"}
_OTHERS = (Path(__file__).resolve().parent, Path(sysconfig.get_paths()["stdlib"]).resolve())


class UserCodeError(Exception):
    """The user's own code raised, or gave something that can't be worked with.

    It is a finding about `layer`, not a crash of firstfault. `part` is the part of the target that raised
    (`preprocess`, `model` …); `frame` is the line of the last frame of the traceback in the user's own files, if
    there is one. A cause that is a `TargetError` says in its own sentence what was expected and what came.
    """

    def __init__(self, layer: Layer, part: str, cause: BaseException, root: Path) -> None:
        self.layer = layer
        self.part = part
        self.frame = user_frame(cause, root)
        place = f" at {self.frame}" if self.frame else ""
        super().__init__(
            str(cause)
            if isinstance(cause, TargetError)
            else f"{part} raised {type(cause).__name__}{place}: {first_line(cause)}"
        )
        self.__cause__ = cause


def first_line(error: BaseException) -> str:
    """What an exception says, without the lines below its first."""
    try:
        text = str(error).strip()
    except BaseException as raised:
        pass_on(raised)
        return f"its message can't be shown, since {type(raised).__name__} was raised by it"
    return encodable(text or "no message").splitlines()[0]


def told(error: BaseException) -> str:
    """The class of an exception, and its first line."""
    return f"{type(error).__name__}: {first_line(error)}"


def user_frame(error: BaseException, root: Path) -> Place | None:
    """The line of the last frame of `error`'s traceback in a file below `root`, without installed packages.

    A frame of compiled code names a file of another machine, by a relative path: it is nobody's here.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_user_code(Path(frame.filename), root)]
    if not frames:
        return None
    last = frames[-1]
    return Place(Kind.LINE, (last.name,), file=Path(last.filename).name, line=last.lineno)


def is_user_code(file: Path, root: Path) -> bool:
    """Whether a file is there, below `root`, and neither of an installed package, of Python nor of firstfault."""
    if not file.is_file() or _INSTALLED & set(file.parts):
        return False
    place = file.resolve()
    return place.is_relative_to(root.resolve()) and not any(place.is_relative_to(other) for other in _OTHERS)
