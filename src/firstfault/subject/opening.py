"""From a reference to its subject: the target is loaded from its file, unless that was done before."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch.nn.parameter import is_lazy

from firstfault.data.splits import Splits
from firstfault.errors import FirstfaultError, Missing
from firstfault.metrics import metric_of
from firstfault.runs.ref import RunRef
from firstfault.subject.kept_model import is_kept, kept
from firstfault.subject.subject import Subject, Trainer, plainly
from firstfault.target.declaration import Target
from firstfault.target.loader import load_target, same_target
from firstfault.target.locate import locate
from firstfault.training.loop import Trained

if TYPE_CHECKING:
    from firstfault.probe import Probe

MOST_WORK = 2e11
"""Weights times rows times epochs that are trained anew where no model is kept: a minute or so on one core."""


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
    return _kept_in(subject, subject.folder)


def _kept_in(subject: Subject, folder: Path) -> Trained:
    settings = subject.target.training
    metric, _ = metric_of(subject.target.task, settings.metric if settings is not None else None)
    return kept(subject.recipe, subject.seed, metric, folder)


def subject_with_model(spec: str, overrides: Mapping[str, str], folder: Path, runs: Path) -> Subject:
    """The subject of a target whose model is to answer again: that of its last debug run, else one trained now.

    Raises:
        TargetError: when there is no such target, a field is not what it must be, or the network has changed since.
    """
    place = locate(spec)
    target = load(place, overrides, None)
    last = None if overrides else _last_kept(runs, place)

    def trainer(asked: Subject, probe: Probe) -> Trained:
        if last is None:
            _expect_cheap(asked)
            return plainly(asked, probe)
        return _kept_in(asked, last)

    return Subject(target, folder, trainer=trainer)


def _last_kept(runs: Path, place: str) -> Path | None:
    """The folder of the last debug run of a target that has left its trained model."""
    for folder in sorted(runs.glob("*/"), reverse=True):
        if is_kept(folder):
            with contextlib.suppress(FirstfaultError):
                run = RunRef.of(folder)
                if same_target(run.target, place) and not run.overrides and run.dataset is None:
                    return folder
    return None


def _expect_cheap(subject: Subject) -> None:
    """Training anew is worth a minute, not an hour: an estimator is fitted, a network trained where it is small."""
    if not subject.target.by_gradients:
        return
    if any(map(is_lazy, subject.model.parameters())):
        subject.get("outputs")  # lazy layers have weights once they were called
    weights = sum(weight.numel() for weight in subject.model.parameters())
    if weights * len(subject.recipe.train) * subject.recipe.training.epochs > MOST_WORK:
        raise Missing(
            "no model of the target is kept, and training it anew takes long; `firstfault debug` keeps one, and "
            "Deployment(model=…, load=…) names one"
        )
