"""Collects what a report shows from the parts of a subject that are already built; it builds none."""

from __future__ import annotations

import logging
import platform
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstfault.checks.safety import evaluate_safety
from firstfault.interrupts import pass_on
from firstfault.report.context import ReportContext
from firstfault.report.facts import code_of, own_files, settings_of
from firstfault.report.formatting import written_now
from firstfault.report.samples import sample_images, sample_rows
from firstfault.subject.subject import Subject
from firstfault.values import Json

if TYPE_CHECKING:
    from firstfault.probe import Record


logger = logging.getLogger(__name__)
SERIES = ("loss", "grad_norm", "update_ratio", "lr")
MOST_DIGESTED = 200_000
"""Rows whose digest tells two runs' data apart: bounds the time beside a report."""


def context_of(subject: Subject, *, links: Mapping[str, str] | None = None, code: Sequence[Path] = ()) -> ReportContext:
    """The context of a subject's report, from the parts it has built so far; nothing new is run.

    Args:
        subject: the target as it was examined.
        links: URLs of the MLflow and Prefect runs, by title.
        code: the files that the run began with, where the target names none.
    """
    parts: dict[str, Any] = {"links": dict(links or {})}
    for gather in (_stages, _curves, _network, _sample, _safety, _environment, _settings, partial(_code, began=code)):
        parts |= _guarded(gather, subject)
    return ReportContext(**parts)


def _guarded(gather: Callable[[Subject], Json], subject: Subject) -> Json:
    """A part of the report that can't be gathered is left out: it must not cost the report."""
    try:
        return gather(subject)
    except BaseException as error:
        pass_on(error)
        logger.warning(
            "the report lacks a part: %s failed\n%s",
            getattr(gather, "__name__", "code").strip("_"),
            subject.masked(traceback.format_exc(-4)),
        )
        return {}


def _stages(subject: Subject) -> Json:
    from firstfault.training.stages import stage_table

    pipeline = subject.made(Subject.pipeline)
    return {"stages": stage_table(pipeline)} if pipeline is not None else {}


def _curves(subject: Subject) -> Json:
    trained = subject.made(Subject.trained)
    record = _record(subject)
    series = {name: found for name in SERIES if (found := getattr(record, name, None))}
    return {
        "epochs": [asdict(epoch) for epoch in getattr(trained, "epochs", ())],
        "metric": getattr(trained, "metric", "metric"),
        "record": record,
        "steps": {name: found.values for name, found in series.items()},
        "step_numbers": {name: found.steps for name, found in series.items()},
        "epoch_ends": list(getattr(record, "epoch_ends", None) or ()),
    }


def _record(subject: Subject) -> Record | None:
    """What was seen of the training; a watched one has a record even where nothing of it can be replayed."""
    return getattr(subject.made(Subject.trained), "record", None) or subject.made(Subject.record)


def _network(subject: Subject) -> Json:
    from firstfault.report.charts.model_diagram import boxes_of, boxes_of_record, shapes_in

    trained, record = subject.made(Subject.trained), _record(subject)
    model = getattr(trained, "model", None) or subject.made(Subject.model)
    if model is not None and any(True for _ in model.parameters()):
        return {"network": boxes_of(model, shapes_in(subject.folder))}
    return {"network": boxes_of_record(record)} if record is not None and record.parameters else {}


def _sample(subject: Subject) -> Json:
    raw, pipeline = subject.made(Subject.raw), subject.made(Subject.pipeline)
    if raw is None:
        return {}
    prepared = [pipeline.prepared.train] if pipeline is not None else []
    images = sample_images([raw.train, *prepared])
    if images is not None:
        return {"sample_images": images[0], "sample_labels": images[1]}
    label = getattr(subject.target.data, "label", None)
    rows, masked = sample_rows(raw.train, label if isinstance(label, str) else "label")
    return {"sample_rows": rows, "masked": masked}


def _safety(subject: Subject) -> Json:
    return {"safety": subject.made(evaluate_safety)}


def _environment(subject: Subject) -> Json:
    from firstfault.runs.provenance import git_sha, versions

    found: dict[str, object] = {
        "written": written_now(),
        "depth": subject.depth.value,
        "seed": subject.seed,
        "task": subject.target.task,
        "commit": git_sha(subject.target.root) or "outside git",
        "data digest": _digest(subject),
        "model": _model(subject),
        "device": _device(subject),
        "platform": platform.platform(terse=True),
        **versions(),
    }
    return {"environment": {key: value for key, value in found.items() if value is not None}}


def _settings(subject: Subject) -> Json:
    return {"settings": settings_of(subject)}


def _code(subject: Subject, began: Sequence[Path]) -> Json:
    return {"code": code_of(own_files(subject, began))}


def _digest(subject: Subject) -> str | None:
    raw = subject.made(Subject.raw)
    if raw is None or len(raw.train.y) > MOST_DIGESTED:
        return None
    from firstfault.data.digest import data_digest

    return data_digest(raw.train)


def _model(subject: Subject) -> str | None:
    model = getattr(subject.made(Subject.trained), "model", None) or subject.made(Subject.model)
    if model is None:
        return None
    return f"{type(model).__name__}, {sum(weight.numel() for weight in model.parameters()):,} parameters"


def _device(subject: Subject) -> str | None:
    model = getattr(subject.made(Subject.trained), "model", None)
    first = next(iter(model.parameters()), None) if model is not None else None
    return None if first is None else str(first.device)
