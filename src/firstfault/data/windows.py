"""Windows that slide over a series: rows in the order of time, whether or not that is declared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]

FEWEST_STEPS = 4  # half a window is two steps: of one step there is no order
LOOKED_AT = 200  # pairs of rows: most of them is more than half with near certainty


def follow_each_other(X: Any) -> bool:
    """Whether most rows `(N, T)` or `(N, T, D)` are the row before, moved on by the same number of steps."""
    if isinstance(X, pd.DataFrame) or np.ndim(X) not in (2, 3) or np.shape(X)[1] < FEWEST_STEPS or len(X) < 2:
        return False
    firsts = np.unique(np.linspace(0, len(X) - 2, LOOKED_AT).astype(int))
    before, after = np.asarray(X)[firsts], np.asarray(X)[firsts + 1]
    if before.dtype.kind not in "fiu":
        return False
    return any(_moved_on(before, after, by) for by in range(1, before.shape[1] // 2 + 1))


def _moved_on(before: Array, after: Array, by: int) -> bool:
    same = (before[:, by:] == after[:, :-by]).reshape(len(before), -1).all(1)
    still = (before[:, by:] == before[:, :-by]).reshape(len(before), -1).all(1)  # what does not change is no series
    return bool((same & ~still).mean() > 0.5)
