"""Confident errors: the test samples on which the model is surest and wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed
from firstfault.checks.safety._evidence import safety_evidence
from firstfault.checks.safety._held_out import classifier, held_out_probabilities
from firstfault.data.privacy.masking import MASK, kinds_of
from firstfault.finding import Layer
from firstfault.subject.subject import Subject
from firstfault.texts import hashable

MOST_CASES = 50
"""Failure cases that are kept, the surest first: a person looks through them."""


@check(layer=Layer.SAFETY, needs={classifier, held_out_probabilities}, detects={})
def confident_errors(subject: Subject, *, sure: float = 0.9) -> Iterator[Judgement]:
    """Collect the wrong answers of which the model is sure, as failure cases.

    Measures: the share of the test samples whose answer is wrong with a probability of at least `sure`, 0–1.
    Fails when: never; it is a list to look at, in failure_cases.json.
    Source: Guo et al. 2017, On calibration of modern neural networks.
    """
    probabilities, y = held_out_probabilities(subject)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero((predicted != y) & (confidence >= sure))
    wrong = wrong[np.argsort(-confidence[wrong])]
    share = len(wrong) / max(1, len(y))
    evidence = safety_evidence(subject)
    evidence.scores["confident_error_rate"] = share
    evidence.scores["test_accuracy"] = float((predicted == y).mean())
    names = subject.classes or tuple(range(probabilities.shape[1]))
    for row in wrong[:MOST_CASES].tolist():
        evidence.cases.append(
            {
                "kind": "confident error",
                "split": "test",
                "row": row,
                "given": names[int(y[row])],
                "predicted": names[int(predicted[row])],
                "confidence": round(float(confidence[row]), 4),
                "sample": _sample(subject, row),
            }
        )
    yield passed(
        f"{len(wrong)} of {len(y)} test samples ({share:.1%}) are wrong with {sure:.0%} confidence or more", value=share
    )


def _sample(subject: Subject, row: int) -> dict[str, Any] | None:
    """The raw row, for tables that kept their rows; columns of many distinct texts are masked."""
    try:
        X = subject.raw.test.X
    except Exception:
        return None
    if not isinstance(X, pd.DataFrame) or subject.target.prepare is not None or len(X) != len(subject.recipe.test):
        return None
    masked = {
        name
        for name in X.columns
        if not pd.api.types.is_numeric_dtype(X[name]) and hashable(X[name]).nunique() > max(50, 0.2 * len(X))
    }
    personal = kinds_of(X)
    return {str(name): MASK if name in masked or name in personal else str(X[name].iloc[row]) for name in X.columns}
