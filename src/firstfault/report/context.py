"""What a report shows beside the verdict: curves, statistics, samples, links, environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from firstfault.checks.safety import SafetyReport
from firstfault.values import Json, Row

if TYPE_CHECKING:
    from firstfault.metrics import Array
    from firstfault.probe import Record
    from firstfault.report.charts.model_diagram import Box


Rows = Sequence[Json]


@dataclass(frozen=True)
class ReportContext:
    """Plain values and PNG bytes; everything is optional, and what is left out is not shown.

    Attributes:
        stages: rows of `firstfault.training.stages.stage_table`, one per preprocessing stage and split.
        epochs: one row per epoch: number, train_loss, train_metric, validation_loss, validation_metric.
        metric: the name of the metric.
        steps: one list per series (loss, grad_norm, lr, update_ratio), an entry per optimizer step.
        step_numbers: the steps at which a series was taken, for a series that skips steps.
        record: the `firstfault.probe.Record` of the training, of which pictures are drawn.
        network: the model as a tree of boxes, `firstfault.report.charts.model_diagram.Box`.
        epoch_ends: the step after which each epoch ended.
        sample_rows: a few raw rows, personal data masked.
        sample_images: up to 16 images `(N, H, W)`, `(N, C, H, W)` or `(N, H, W, C)`, any numeric dtype.
        sample_labels: the label of each image.
        masked: the columns that were masked as personal data.
        safety: the `firstfault.checks.safety.SafetyReport` of the trained model, of which a PDF is written.
        links: URLs or paths relative to the report by title.
        environment: versions, seed, commit, data digest.
        settings: what the target declares, as texts by name; code: the user's own files by name.
    """

    stages: Rows = ()
    epochs: Rows = ()
    metric: str = "metric"
    steps: Mapping[str, Sequence[float]] = field(default_factory=dict)
    step_numbers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    epoch_ends: Sequence[int] = ()
    record: Record | None = None
    network: Box | None = None
    sample_rows: Rows = ()
    sample_images: Array | None = None
    sample_labels: Sequence[object] = ()
    masked: Sequence[str] = ()
    safety: SafetyReport | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    environment: Row = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
