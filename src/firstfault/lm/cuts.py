"""The six cuts at which a request is compared, how far two sides may be apart, and what a difference is.

labels → rendered text → ids, mask and positions → log-probs → choice → text and stop
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Cut(StrEnum):
    """A point on the way of a request, or of a training row, in the order in which a fault spreads."""

    LABELS = "labels"
    TEXT = "rendered text"
    IDS = "ids"
    LOG_PROBS = "log-probs"
    CHOICE = "choice"
    STOP = "text and stop"


@dataclass(frozen=True)
class Divergence:
    """One difference at a cut: the fault that it shows, and a sentence with what was measured."""

    cut: Cut
    fault: str
    message: str
    prompt: str = ""
    module: str = ""
    value: float | None = None


PROOF = 0.95
"""The weight of what structure shows of a language model; a swap, where there is one, makes it certain."""
SAME_NUMERICS = 1e-5
"""Mean divergence per position, in nat, of the same numerics: batches, caches and kernels stay below 3e-7."""
PRECISION: dict[str, float] = {"float32": SAME_NUMERICS, "float16": 1e-4, "bfloat16": 4e-3, "int8": 1e-2, "int4": 1e-1}
"""The same of a declared precision: on 135 M parameters bfloat16 gave 8e-4, int8 2e-3, the mildest fault 5e-3."""
UNSTABLE_MARGIN = 0.06
"""A choice whose two best tokens are closer, in nat, flips with the numerics: greedy text is no oracle there."""


def tolerance(precision: str | None) -> float:
    """How far log-probabilities may be apart under a declared precision."""
    return PRECISION.get(precision or "float32", SAME_NUMERICS)
