"""A record as TensorBoard files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firstfault.probe.record import Record
from firstfault.probe.series import Series


def write_tensorboard(folder: Path, record: Record, epochs: list[Any]) -> None:
    """Write the series of a record, and the evaluations of its epochs, as scalars."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
        for name in ("loss", "lr", "grad_norm", "update_ratio"):
            series: Series = getattr(record, name)
            for step, value in zip(series.steps, series.values, strict=True):
                writer.add_scalar(f"step/{name}", value, step)  # type: ignore[no-untyped-call]
        for epoch in epochs:
            for name in ("train_loss", "train_metric", "validation_loss", "validation_metric"):
                writer.add_scalar(f"epoch/{name}", getattr(epoch, name), epoch.number)  # type: ignore[no-untyped-call]
