"""A short digest of what a training of a target depends on, by which a sweep knows its own trainings again."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from firstfault.ablation.confirm.trials import settings_of
from firstfault.subject.subject import Subject


def fingerprint(subject: Subject) -> str:
    """A short digest of data, settings, network and source files; the same in every process.

    Raises:
        UserCodeError: when the target's code raises.
    """
    from firstfault.data.digest import data_digest

    network = re.sub(r" at 0x[0-9a-f]+", "", repr(subject.model))
    parts: list[str] = [data_digest(subject.raw.train), network, repr(sorted(_settings(subject).items()))]
    file = subject.target.file
    if file is not None:
        parts += [path.read_text(errors="replace") for path in _sources(file)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def _settings(subject: Subject) -> Mapping[str, int | float | str]:
    values = settings_of(subject.recipe)
    return {key: value if isinstance(value, int | float) else str(value) for key, value in values.items()}


def _sources(file: Path) -> list[Path]:
    """The target's file and the modules beside and below it that it has imported."""
    folder = file.resolve().parent
    places = {getattr(module, "__file__", None) for module in list(sys.modules.values())} - {None}
    loaded = {Path(str(place)).resolve() for place in places}
    own = {path for path in loaded if path.suffix == ".py" and path.is_relative_to(folder) and path.is_file()}
    return sorted({file.resolve(), *(path for path in own if "site-packages" not in path.parts)})
