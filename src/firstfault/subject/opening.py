"""From a reference to its subject: the target is loaded from its file, unless that was done before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.data.splits import Splits
from firstfault.errors import Missing
from firstfault.metrics import metric_of
from firstfault.runs.ref import RunRef
from firstfault.subject.kept_model import is_kept, kept
from firstfault.subject.subject import Subject, Trainer, plainly
from firstfault.target.declaration import Target
from firstfault.target.loader import load_target
from firstfault.training.loop import Trained

if TYPE_CHECKING:
    from firstfault.probe import Probe


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

    Where the run has ended, its trained model is the one that its folder holds, and nothing is trained again. What the
    folder does not hold is missing, and says so when it is asked for.

    Raises:
        TargetError: when there is no such target, or a field is not what it must be.
    """
    known = loaded or Loaded(load(run.target, run.overrides, run.dataset))
    folder = Path(run.folder)

    def trained_before(asked: Subject, probe: Probe) -> Trained:
        return _kept(asked) if asked is subject else (trainer or plainly)(asked, probe)

    subject = Subject(known.target, folder, run.depth, trainer=trained_before if is_kept(folder) else trainer)
    if known.source is not None:
        subject.supply(Subject.source, known.source)
    if is_kept(folder):
        subject.supply(Subject.record, Missing(f"the record of the steps is in {folder / 'record.json'}, for people"))
    elif (folder / "verdict.json").is_file():
        subject.supply(
            Subject.trained, Missing(f"the run in {folder} ended without a trained model that it could keep")
        )
    return subject


def _kept(subject: Subject) -> Trained:
    settings = subject.target.training
    metric, _ = metric_of(subject.target.task, settings.metric if settings is not None else None)
    return kept(subject.recipe, subject.seed, metric, subject.folder)
