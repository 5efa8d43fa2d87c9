"""What the report shows beside the verdict: curves, stages, samples, links, environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from firstfault.provenance import git_sha, versions
from firstfault.splits import Split, to_array
from firstfault.stages import stage_table

MOST_POINTS = 400
SAMPLES = 12


@dataclass(frozen=True)
class ReportContext:
    """Everything optional, as plain values. `images` are `(title, array (H, W) or (H, W, 3))` pairs."""

    metric: str = "metric"
    epochs: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    images: list[tuple[str, Any]] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def context_of(subject: Any, *, links: Mapping[str, str] | None = None) -> ReportContext:
    """Gather what a subject already holds; nothing is computed or trained for the report."""
    built = {name: value for name, value in subject.built.items() if not isinstance(value, Exception)}
    trained, pipeline, raw = built.get("trained"), built.get("pipeline"), built.get("raw")
    record = getattr(trained, "record", None)
    rows, images = _samples(raw.train if raw is not None else None)
    return ReportContext(
        metric=getattr(trained, "metric", "metric"),
        epochs=[vars(epoch) for epoch in trained.epochs] if trained is not None else [],
        steps={name: thinned(getattr(record, name)) for name in ("loss", "grad_norm", "update_ratio", "lr")} if record else {},
        stages=stage_table(pipeline) if pipeline is not None else [],
        rows=rows, images=images, links=links or {},
        environment={
            **versions(), "seed": str(subject.seed), "depth": subject.depth.value,
            "git": git_sha(subject.target.root) or "not under git",
        },
    )


def thinned(values: list[float]) -> list[float]:
    """At most 400 of the values, evenly."""
    step = max(1, len(values) // MOST_POINTS)
    return list(values[::step])


def _samples(train: Split | None) -> tuple[list[dict[str, Any]], list[tuple[str, Any]]]:
    if train is None:
        return [], []
    labels = to_array(train.y)
    if isinstance(train.X, pd.DataFrame):
        masked = [name for name in train.X.columns if _looks_personal(train.X[name])]
        frame = train.X.head(SAMPLES).astype(object).assign(**{str(name): "•••" for name in masked})
        return [{"label": str(labels[row]), **{str(k): str(v) for k, v in frame.iloc[row].items()}} for row in range(len(frame))], []
    array = to_array(train.X)
    images = [(str(labels[index]), image) for index in range(min(SAMPLES, len(array))) if (image := as_image(array[index])) is not None]
    return [], images


def _looks_personal(column: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(column) and column.nunique() > max(50, 0.2 * len(column))


def as_image(sample: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """A sample as `(H, W)` or `(H, W, 3)`: channels first or last, or a flat square; None for anything else."""
    sample = np.asarray(sample)
    if sample.ndim == 3 and sample.shape[0] in (1, 3):
        sample = sample.transpose(1, 2, 0)
    if sample.ndim == 3 and sample.shape[2] == 1:
        sample = sample[:, :, 0]
    if sample.ndim == 1:
        side = round(len(sample) ** 0.5)
        sample = sample.reshape(side, side) if side * side == len(sample) and side >= 8 else sample
    fits = sample.ndim == 2 or (sample.ndim == 3 and sample.shape[2] == 3)
    return sample if fits and min(sample.shape[:2]) >= 4 else None
