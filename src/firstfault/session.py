"""One debug run of one target: its reference that tasks pass on, its subject, and the run without an orchestrator."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from firstfault import guard, progress
from firstfault.check import Depth, run_checks
from firstfault.errors import FirstfaultError, Missing, MissingExtra, UserCodeError
from firstfault.extras import missing_extra
from firstfault.finding import LADDER, Layer, LayerReport
from firstfault.interrupts import pass_on
from firstfault.ladder import walk
from firstfault.splits import Splits, load_raw
from firstfault.subject import Subject
from firstfault.target import Target
from firstfault.target_file import is_path, load_target, split_spec
from firstfault.texts import encodable, hash_values
from firstfault.verdict import Outcome, Verdict, conclude
from firstfault.whole_files import write_json


@dataclass(frozen=True)
class RunRef:
    """What tasks pass on instead of data: where a run's target and files are, and its MLflow runs."""

    target: str
    folder: str
    home: str
    depth: Depth = Depth.STANDARD
    overrides: Mapping[str, str] = field(default_factory=dict)
    dataset: str | None = None
    where: str | None = None
    mlflow_run_id: str | None = None


_subjects: dict[str, Subject] = {}
_ready: dict[str, tuple[Target, Splits | None]] = {}
_lock = threading.Lock()


def preflight(
    spec: str, overrides: Mapping[str, str] | None = None, dataset: str | None = None, where: str | None = None
) -> Target:
    """Load a target and its raw data, so that a bad call is known before anything is started.

    Raises:
        TargetError: when the target or its data is unusable, or its model has no submodule `where`.
    """
    from firstfault.preflight import expect_workable

    guard.tell(doing="loading")
    target = _load(spec, overrides or {}, dataset)
    expect_workable(target, where)
    guard.tell(target=target.name, doing=Layer.DATA.value)
    source: Splits | None = None
    with contextlib.suppress(Missing, UserCodeError):       # which is a finding of the run
        if target.data is not None:
            source = _raw(target)
    _ready[_key(spec, overrides or {}, dataset)] = target, source
    return target


def _raw(target: Target) -> Any:
    try:
        return load_raw(target)
    except FirstfaultError:
        raise
    except BaseException as error:
        pass_on(error)
        lacking = missing_extra(error, "loading the data", target.root)
        raise lacking or UserCodeError(Layer.DATA, "loading the data", error, target.root) from error


def locate(spec: str) -> str:
    """A target's path as an absolute one; a relative path is looked up here, then beside the state folder.

    A worker runs flows in a folder of its own, so that `target.py` means the one beside `.firstfault`.
    """
    place, name = split_spec(spec)
    if not is_path(place) or Path(place).is_absolute():
        return spec
    home = os.environ.get("FIRSTFAULT_HOME")
    below = Path(home).parent / place if home else Path(place)
    path = Path(place) if Path(place).exists() or not below.exists() else below
    return f"{path.resolve()}:{name}"


def _load(spec: str, overrides: Mapping[str, str], dataset: str | None) -> Target:
    target = load_target(spec, overrides)
    if dataset is not None and target.data is not None:
        target = replace(target, data=replace(target.data, train=dataset))
    return target


def _key(spec: str, overrides: Mapping[str, str], dataset: str | None) -> str:
    return json.dumps([spec, dict(overrides), dataset], sort_keys=True)


@contextmanager
def open_subject(run: RunRef) -> Iterator[Subject]:
    """The subject of a run: the one this process already holds, or a new one from the target's file."""
    from firstfault.acting.of_target import train_acting

    with _lock:
        if run.folder not in _subjects:
            key = _key(run.target, run.overrides, run.dataset)
            target, built = _ready.pop(key) if key in _ready else (_load(run.target, run.overrides, run.dataset), None)
            _subjects[run.folder] = subject = Subject(target, Path(run.folder), run.depth, trainer=train_acting)
            if built is not None:
                subject.supply(Subject.source, built)
    yield _subjects[run.folder]


def close_subject(run: RunRef) -> None:
    """Let go of a run's data and models."""
    _subjects.pop(run.folder, None)


def examine(layer: Layer, subject: Subject, depth: Depth, where: str | None = None) -> LayerReport:
    """Run the checks of one layer; the report is also written to the run's folder at once.

    Nothing measured is lost when a later step fails: `layer_<name>.json` stays. `where` names a
    submodule: the model layer then tests it alone.

    Raises:
        TargetError: when there is no such submodule.
    """
    progress.emit(progress.LayerStarted(layer))
    if layer is Layer.DATA and depth.includes(Depth.STANDARD):
        _begin(subject, "profiling")
    report = _run(layer, subject, depth, where if layer is Layer.MODEL else None)
    path = subject.folder / f"layer_{layer.rank + 1}_{layer.value}.json"
    write_json(path, report.to_json())
    progress.emit(progress.LayerEnded(report))
    return report


def _run(layer: Layer, subject: Subject, depth: Depth, where: str | None) -> LayerReport:
    from firstfault.reduced import placed
    from firstfault.submodule import submodule_subject

    if where is not None:
        with contextlib.suppress(Missing, UserCodeError):       # which the checks of the whole model will say
            subject = submodule_subject(subject, where)
    report = run_checks(layer, subject, depth, subject.target.thresholds)
    return placed(report, subject) if layer is Layer.MODEL and depth is Depth.DEEP else report


def _begin(subject: Subject, part: str) -> None:
    """Begin long work in a process of its own, so that it is done when its check asks for it."""
    with contextlib.suppress(Missing, MissingExtra, UserCodeError):
        subject.get(part)


def data_digest(subject: Subject) -> str:
    """A short digest of the raw training split's content, the same in every process and on every machine."""
    import pandas as pd

    X, y = subject.raw.train
    sha = hashlib.sha256()
    for name, values in X.items() if isinstance(X, pd.DataFrame) else [("inputs", X)]:
        sha.update(encodable(str(name)).encode())
        sha.update(_content(values))
    sha.update(_content(y))
    return sha.hexdigest()[:12]


def _content(values: Any) -> Any:
    """A column or an array as bytes: numbers as they are in memory, other values by the hash of each."""
    import numpy as np

    array = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
    if array.dtype.kind in "biufcmM":
        return np.ascontiguousarray(array).view(np.uint8).data
    return hash_values(array.astype(object).ravel(), categorize=True).tobytes()


def diagnose(
    subject: Subject,
    depth: Depth,
    *,
    keep_going: bool = False,
    only: Layer | None = None,
    examine_layer: Callable[[Layer], LayerReport] | None = None,
    confirm_report: Callable[[LayerReport], Sequence[Outcome]] | None = None,
    evaluate: Callable[[], Any] | None = None,
) -> Verdict:
    """Walk the ladder on a subject, judge safety on a sound model, and conclude.

    The callables are the steps to use; a flow hands in its tasks. Left out, the checks run bare:
    no Prefect, no MLflow.
    """
    from firstfault.ablation.confirm import confirm

    started = time.perf_counter()
    found = walk(
        examine_layer or (lambda layer: examine(layer, subject, depth)),
        confirm_report or (lambda report: confirm(subject, report)),
        keep_going=keep_going,
        layers=[layer for layer in LADDER if only in (None, layer)],
    )
    reports, faults = list(found.reports), list(found.faults)
    safety = None
    if only in (None, Layer.SAFETY) and (not faults or keep_going):
        judged = (evaluate or (lambda: judge_safety(subject)))()
        if judged is not None:
            from firstfault.verdict import standing_faults

            reports.append(judged.report)
            safety = judged.to_json()
            faults += standing_faults(judged.report, [])
    subject.settle()
    return conclude(
        subject.target.name, reports, faults,
        seconds=time.perf_counter() - started, safety=safety, outcomes=found.outcomes,
    )


def judge_safety(subject: Subject) -> Any:
    """The safety evaluation of the trained model, with its report written to the run's folder."""
    from firstfault.safety import evaluate_safety

    progress.emit(progress.LayerStarted(Layer.SAFETY))
    judged = evaluate_safety(subject)
    if judged is not None:
        progress.emit(progress.LayerEnded(judged.report))
    return judged
