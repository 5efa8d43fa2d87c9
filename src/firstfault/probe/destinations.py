"""The sinks that come with firstfault, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from firstfault.errors import TargetError
from firstfault.probe.sinks import JsonLines, Sink

NAMES = ("json",)


def sinks_named(names: Sequence[str], folder: Path, run: str) -> list[Sink]:
    """The sinks of these names, with their files in `folder`.

    Raises:
        TargetError: for a name that is none of them.
    """
    return [_sink(name, folder, run) for name in names]


def _sink(name: str, folder: Path, run: str) -> Sink:
    if name == "json":
        folder.mkdir(parents=True, exist_ok=True)
        return JsonLines(folder / "steps.jsonl")
    raise TargetError(f"--sink must be one of {', '.join(NAMES)}, but got {name!r}")
