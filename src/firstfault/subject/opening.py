"""From a reference to its subject: the target is loaded from its file, unless that was done before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from firstfault.data.splits import Splits
from firstfault.runs.ref import RunRef
from firstfault.subject.subject import Subject, Trainer
from firstfault.target.declaration import Target
from firstfault.target.loader import load_target


@dataclass(frozen=True)
class Loaded:
    """A target, with its raw data where they have been read."""

    target: Target
    source: Splits | None = None


def load(spec: str, overrides: Mapping[str, str], dataset: str | None) -> Target:
    """The target of a file, with its fields overridden and, where one is given, another data set to train on.

    Raises:
        TargetError: when there is no such target, or a field is not what it must be.
    """
    target = load_target(spec, overrides)
    if dataset is not None and target.data is not None:
        target = replace(target, data=replace(target.data, train=dataset))
    return target


def open_subject(run: RunRef, loaded: Loaded | None = None, *, trainer: Trainer | None = None) -> Subject:
    """The subject of a run, from what was `loaded` before, else from the target's file.

    Raises:
        TargetError: when there is no such target, or a field is not what it must be.
    """
    known = loaded or Loaded(load(run.target, run.overrides, run.dataset))
    subject = Subject(known.target, Path(run.folder), run.depth, trainer=trainer)
    if known.source is not None:
        subject.supply(Subject.source, known.source)
    return subject
