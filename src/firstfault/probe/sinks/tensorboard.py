"""A training as TensorBoard files: while it runs, or from its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from firstfault.extras import expect_installed, installed
from firstfault.probe.record import Record
from firstfault.probe.samples import BUCKETS
from firstfault.probe.series import Series

FLUSH_SECONDS = 10
"""Between two writings to the file."""


class TensorBoard:
    """Scalars of every sampled step; now and then histograms of gradients, weights and activations, and attention
    patterns as images.

    Args:
        folder: for the event files; `tensorboard` in the training's folder when left out.

    Raises:
        MissingExtra: when tensorboard is not installed.
    """

    wants_samples = True

    def __init__(self, folder: str | Path | None = None) -> None:
        expect_installed("tensorboard", "the sink tensorboard")
        import torch.utils.tensorboard  # noqa: F401 (takes seconds: before the training, not beside it)

        self._folder = folder
        self._writer: Any = None

    def begin(self, name: str, folder: Path) -> None:
        """Open the event file."""
        from torch.utils.tensorboard import FileWriter

        self._writer = FileWriter(str(self._folder or folder / "tensorboard"), flush_secs=FLUSH_SECONDS)  # type: ignore[no-untyped-call]

    def write(self, step: int, values: Any) -> None:
        """Take the values of a step, as one event."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._writer.add_summary(
            Summary(value=[entry for name, value in values.items() for entry in _entries(name, value)]), step
        )

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


def _entries(name: str, value: Any) -> list[Any]:
    """A number, a pattern or a sample as entries of a TensorBoard event."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from torch.utils.tensorboard.summary import histogram, image

    if isinstance(value, list):
        from firstfault.probe.attention_image import image_of

        return list(image(name, image_of(value), dataformats="HWC").value)  # type: ignore[no-untyped-call]
    if isinstance(value, np.ndarray):
        finite = value[np.isfinite(value)]
        return list(histogram(name, finite, BUCKETS).value) if len(finite) else []  # type: ignore[no-untyped-call]
    return [Summary.Value(tag=name, simple_value=value)]


def write_tensorboard(folder: Path, record: Record, epochs: list[Any]) -> None:
    """Write the series of a record, and the evaluations of its epochs, as scalars.

    Nothing where TensorBoard is not installed.
    """
    if not installed("tensorboard"):
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:  # type: ignore[no-untyped-call]
        for name in ("loss", "lr", "grad_norm", "update_ratio"):
            series: Series = getattr(record, name)
            for step, value in zip(series.steps, series.values, strict=True):
                writer.add_scalar(f"step/{name}", value, step)  # type: ignore[no-untyped-call]
        for epoch in epochs:
            for name in ("train_loss", "train_metric", "validation_loss", "validation_metric"):
                writer.add_scalar(f"epoch/{name}", getattr(epoch, name), epoch.number)  # type: ignore[no-untyped-call]
