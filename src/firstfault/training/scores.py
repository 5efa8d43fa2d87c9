"""How far a score can be trusted: the smallest difference that matters, and what the choice of rows moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from firstfault.metrics import Array

LEAST_EFFECT = 0.02
"""Of a share or R²: what an accuracy of 0.9 on 225 rows errs by. A smaller gain is worth no verdict."""
LEAST_ERROR_SHARE = 0.05
"""Of an error: what its mean over 800 rows errs by, and as small."""


def least_effect(metric: str, scores: Sequence[float] | Array) -> float:
    """The smallest difference that matters for a metric, around some scores."""
    if metric in ("mse", "mae"):
        return LEAST_ERROR_SHARE * float(np.abs(scores).mean())
    return LEAST_EFFECT


def standard_error(metric: str, scores: Sequence[float] | Array, rows: int | None) -> float:
    """How far a score moves with the choice of that many validation rows; 0 where they are not given.

    Shares p as √(p (1 − p) / n), R² as (1 − R²) √(2 / n), errors as their size × √(2 / n).
    """
    if not rows:
        return 0.0
    mean = float(np.mean(scores))
    if metric in ("mse", "mae", "r2"):
        return (1 - mean if metric == "r2" else abs(mean)) * math.sqrt(2 / rows)
    share = min(max(mean, 0.0), 1.0)
    return math.sqrt(share * (1 - share) / rows)
