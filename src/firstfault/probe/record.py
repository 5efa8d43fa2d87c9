"""What was seen of a training: plain numbers per step, and a few facts about its parameters."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from firstfault.finding import plain


@dataclass
class Record:
    """One observed training.

    Per optimizer step: `loss` (of the last backward), `grad_norm` (L2 over all parameters), `lr`;
    every few steps `update_ratio` (‖Δw‖ / ‖w‖ per step, median over parameters) at `ratio_steps`.
    `first_nonfinite` says where the first NaN or infinity was seen: (step, kind, place) with kind
    input, activation, loss, gradient or weight. `moved` is ‖w_end − w_start‖ / ‖w_start‖ by parameter name.
    `stale_gradients` counts backward passes that began with gradients an optimizer step had already used.
    `steps_on_validation` counts optimizer steps whose gradients came from a batch of the validation loader.
    `validated_in_train_mode` counts validation batches seen with the model in train mode.
    """

    loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    update_ratio: list[float] = field(default_factory=list)
    ratio_steps: list[int] = field(default_factory=list)
    epoch_ends: list[int] = field(default_factory=list)
    first_nonfinite: tuple[int, str, str] | None = None
    moved: dict[str, float] = field(default_factory=dict)
    had_gradient: dict[str, bool] = field(default_factory=dict)
    in_optimizer: dict[str, bool] = field(default_factory=dict)
    optimizers: list[str] = field(default_factory=list)
    weight_decay: float = 0.0
    backwards: int = 0
    stale_gradients: int = 0
    steps_on_validation: int = 0
    validation_batches: int = 0
    validated_in_train_mode: int = 0

    @property
    def steps(self) -> int:
        """How many optimizer steps were seen."""
        return len(self.grad_norm)

    def loss_ends(self) -> tuple[float, float]:
        """Mean loss of the first and of the last tenth of the steps; NaN without steps."""
        if not self.loss:
            return math.nan, math.nan
        tenth = max(1, len(self.loss) // 10)
        return float(np.mean(self.loss[:tenth])), float(np.mean(self.loss[-tenth:]))

    def to_json(self) -> dict[str, Any]:
        """This record as JSON values."""
        return plain(asdict(self))  # type: ignore[no-any-return]
