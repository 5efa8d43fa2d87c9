"""The model's summary: layers, shapes and parameter counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Summary:
    """Parameter counts, and torchinfo's table of layers as text."""

    parameters: int
    trainable: int
    text: str


def summarise(model: Any, x: Any) -> Summary:
    """Summarise a model on a batch `x` `(N, …)`; in eval mode, without changing it."""
    from torchinfo import summary

    stats = summary(model, input_data=x, verbose=0, mode="eval", depth=4)
    return Summary(int(stats.total_params), int(stats.trainable_params), str(stats))
