"""The target that the deployments start with: the one that was named last in this state folder, else an example."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from firstfault.errors import FirstfaultError
from firstfault.output.whole_files import write_text
from firstfault.runs.state import State
from firstfault.target.loader import is_path, split_spec


def starter() -> str:
    """The text of a small working target with comments."""
    return resources.files("firstfault.target").joinpath("starter.py.txt").read_text(encoding="utf-8")


def note_target(state: State, place: str) -> None:
    """Remember the target that `init`, `debug` or `sweep` was called with, by its absolute place.

    Raises:
        FirstfaultError: when the state folder can't be written.
    """
    state.make()
    try:
        write_text(state.target, f"{place}\n")
    except OSError as error:
        raise FirstfaultError(f"the state folder {state.home} must be writable, but: {error.strerror}") from error


def default_target(state: State) -> str:
    """The target that was named last, if it is still there; else `target.py` beside the state; else an example."""
    beside = state.home.parent / "target.py"
    noted = _noted(state)
    if noted is not None:
        return noted
    return f"{beside}:target" if beside.is_file() else f"{_example(state)}:target"


def _noted(state: State) -> str | None:
    try:
        noted = state.target.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    place, _ = split_spec(noted)
    return noted if noted and (not is_path(place) or Path(place).exists()) else None


def _example(state: State) -> Path:
    """The starter target as a file of the state folder."""
    file = state.home / "example" / "target.py"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, starter())
    return file
