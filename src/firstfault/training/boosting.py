"""The learning curve of a boosted model: what it answers after fewer of its rounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from firstfault.training.estimators import EstimatorModel

POINTS = 12
"""On how many numbers of rounds a boosted model is scored."""


def rounds_of(estimator: Any) -> int:
    """How many rounds of boosting a fitted estimator has; 0 of one that has none."""
    if hasattr(estimator, "get_booster"):
        return int(estimator.get_booster().num_boosted_rounds())
    if hasattr(estimator, "booster_"):
        return int(estimator.booster_.current_iteration())
    if not hasattr(estimator, "staged_predict"):
        return 0
    counted = (getattr(estimator, name, None) for name in ("n_iter_", "n_estimators_"))
    known = next((count for count in counted if isinstance(count, int | np.integer)), None)
    return int(known if known is not None else len(getattr(estimator, "estimators_", ())))


def by_rounds(model: EstimatorModel, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """The outputs of a fitted model after a twelfth of its rounds, two twelfths …; nothing of one without rounds."""
    total = rounds_of(model.estimator)
    wanted = sorted({max(1, round(total * part / POINTS)) for part in range(1, POINTS + 1)}) if total else []
    X = model.form.restored(x)
    if not hasattr(model.estimator, "staged_predict"):
        name = "iteration_range" if hasattr(model.estimator, "get_booster") else "num_iteration"
        for number in wanted:
            yield torch.as_tensor(model.answer(X, **{name: (0, number) if name == "iteration_range" else number}))
        return
    ask = "staged_predict_proba" if model.task == "classification" else "staged_predict"
    for number, answers in enumerate(getattr(model.estimator, ask)(X), 1):
        if number in wanted:
            yield torch.as_tensor(model.outputs(answers))
