"""The facts of a run that another one can be compared with: what it ran on, its settings, its code, its curves."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from firstfault.errors import FirstfaultError, is_user_code
from firstfault.finding import plain
from firstfault.output.whole_files import write_json
from firstfault.report.context import ReportContext
from firstfault.subject.subject import Subject
from firstfault.values import Json

NAME = "facts.json"
MOST_CODE, MOST_FILES = 200_000, 20
"""Characters of a file of the user's that are kept, and files: more is nothing that somebody compares line by line."""
PARTS = ("training", "data", "preprocess", "prepare", "model", "lm", "deployment", "safety", "task", "seed")
PLAIN = (str, int, float, bool, Path)


def settings_of(subject: Subject) -> dict[str, str]:
    """What a target declares, by the names of `--set`, as texts; code is told by its name."""
    found = {name: text for part in PARTS for name, text in _flat(part, getattr(subject.target, part, None))}
    return {name: str(subject.masked(text)) for name, text in found.items()}


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _flat(f"{name}.{each.name}", getattr(value, each.name))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _flat(f"{name}.{key}", each)
    else:
        yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, PLAIN):
        return str(value)
    if isinstance(value, functools.partial):
        given = [*map(_text, value.args), *(f"{key}={_text(each)}" for key, each in value.keywords.items())]
        return f"{_text(value.func)}({', '.join(given)})"
    if isinstance(value, Sequence):
        return ", ".join(map(_text, value))
    return str(getattr(value, "__qualname__", None) or type(value).__qualname__)


def own_files(subject: Subject, began: Sequence[Path]) -> list[Path]:
    """The file of the target, or those that a run began with, and the user's modules beside it that are imported."""
    root = subject.target.root.resolve()
    first = [subject.target.file] if subject.target.file is not None else list(began)
    places = [vars(module).get("__file__") for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    near = {Path(place) for place in places if isinstance(place, str) and place.startswith(str(root))}
    beside = sorted(place for place in near if is_user_code(place, root))
    return list(dict.fromkeys(file.resolve() for file in (*first, *beside)))[:MOST_FILES]


def code_of(files: Sequence[Path]) -> dict[str, str]:
    """The texts of the user's own files by their names; what can't be read is left out."""
    found = {}
    for file in files:
        try:
            found[file.name] = file.read_text(encoding="utf-8", errors="replace")[:MOST_CODE]
        except OSError:
            continue
    return found


def write_facts(context: ReportContext, folder: Path) -> None:
    """Write what another run can be compared with."""
    if not context.environment:
        return
    steps = {
        name: {"steps": list(context.step_numbers.get(name, range(1, len(values) + 1))), "values": list(values)}
        for name, values in context.steps.items()
    }
    write_json(
        folder / NAME,
        plain(
            {
                "environment": context.environment,
                "settings": context.settings,
                "code": context.code,
                "metric": context.metric,
                "epochs": [dict(epoch) for epoch in context.epochs],
                "steps": steps,
            }
        ),
        indent=None,
    )


def read_facts(folder: Path) -> Json:
    """What a run has left to compare; empty where it has written no report.

    Raises:
        FirstfaultError: where its file can't be read.
    """
    file = folder / NAME
    if not file.is_file():
        return {}
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FirstfaultError(
            f"{file} must be what a run has left, but can't be read: {type(error).__name__}"
        ) from error
    if not isinstance(values, dict):
        raise FirstfaultError(f"{file} must be an object of JSON, but is a {type(values).__name__}")
    return values
