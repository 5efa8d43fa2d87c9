"""Numbers that are missing or infinite: how many reach the model, and whether it takes them as it takes others."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import torch

from firstfault.interrupts import pass_on
from firstfault.subject.subject import Subject
from firstfault.training.evaluation import predict
from firstfault.training.stages import numbers

REFUSAL = re.compile(r"\bnan\b|\binf(inity)?\b|missing value", re.IGNORECASE)
"""How scikit-learn, pandas and NumPy say that they take no such numbers."""
ASKED = 256  # rows: one that is answered by NaN tells as much as all


def missing_inputs(subject: Subject, split: str, known: int) -> int:
    """How many missing numbers of a split reach the model: none that it takes, all `known` if the steps refuse them."""
    try:
        prepared = getattr(subject.prepared, split).X
    except Exception as error:
        return known if REFUSAL.search(str(error)) else 0
    count = (
        int(prepared.select_dtypes(include=["number"]).isna().to_numpy().sum())
        if isinstance(prepared, pd.DataFrame)
        else int(np.isnan(numbers(prepared)).sum())
    )
    return 0 if count and taken(subject, split) else count


def infinite_inputs(subject: Subject, known: int) -> int:
    """The same of the infinite numbers of train."""
    try:
        count = int(np.isinf(numbers(subject.prepared.train.X)).sum())
    except Exception as error:
        return known if REFUSAL.search(str(error)) else 0
    return 0 if count and taken(subject, "train") else count


def taken(subject: Subject, split: str) -> bool:
    """Whether the model answers rows of a split by finite numbers that hold numbers which are not finite.

    An estimator, as boosted trees are, has to be fitted on such rows too.
    """
    try:
        model: Any = subject.model if subject.target.by_gradients else subject.trained.model
        x = getattr(subject.recipe, split).x
        held = x[~torch.isfinite(x.flatten(1).double()).all(1)][:ASKED]
        return len(held) > 0 and bool(torch.isfinite(predict(subject.recipe, model, held)).all())
    except BaseException as error:  # which the layer of the code that raised will say
        pass_on(error)
        return False
