"""A quantity over the steps of a training, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

MOST = 2048
"""Points: bounds the memory, and is more than a screen is wide."""


@dataclass
class Series:
    """Values by step, at most 2,048 of them: when it is full, every second goes, and every second is taken from then
    on.

    `last` is the last step and value, taken or passed over.
    """

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    stride: int = 1
    seen: int = 0

    def __post_init__(self) -> None:
        self.last: tuple[int, float] = (0, math.nan)  # no field: a record as JSON does without

    def add(self, step: int, value: float) -> None:
        """Take the value of a step, or pass it over where the series has thinned out."""
        self.last = step, value
        if self.seen % self.stride == 0:
            self.steps.append(step)
            self.values.append(value)
        self.seen += 1
        if len(self.values) > MOST:
            self.steps, self.values, self.stride = self.steps[::2], self.values[::2], 2 * self.stride

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[float]:
        return iter(self.values)

    def __getitem__(self, index: int) -> float:
        return self.values[index]
