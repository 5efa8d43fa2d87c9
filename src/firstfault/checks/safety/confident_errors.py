"""Confident errors: the test samples on which the model is surest and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from firstfault.data.privacy.masking import MASK, kinds_of
from firstfault.errors import Missing
from firstfault.finding import Status
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.training.loop import predict

MOST_CASES = 50


@memo(of="trained")
def held_out_probabilities(subject: Subject) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Class probabilities `(N, K)` and class ids `(N,)` of the test split; built once per subject."""
    trained = subject.trained
    if trained.crash is not None:
        raise Missing("the training crashed, so there is no model to judge")
    outputs = predict(subject.recipe, trained.model, subject.recipe.test.x).float().cpu()
    return probabilities_of(outputs).numpy(), subject.recipe.test.y.cpu().numpy()


def probabilities_of(outputs: torch.Tensor) -> torch.Tensor:
    """Probabilities `(N, K)` of outputs: softmax of logits, probabilities as they are, one unit as two classes."""
    if outputs.ndim != 2 or outputs.shape[1] == 1:
        flat = outputs.reshape(len(outputs))
        inside = bool(((flat >= 0) & (flat <= 1)).all())
        positive = flat if inside else flat.sigmoid()
        return torch.stack([1 - positive, positive], 1)
    is_distribution = bool((outputs >= 0).all()) and torch.allclose(outputs.sum(1), torch.ones(len(outputs)), atol=1e-3)
    return outputs if is_distribution else outputs.softmax(1)


def confident_errors(subject: Subject, evidence: Any, *, sure: float = 0.9) -> None:
    """Collect the wrong answers given with at least `sure` probability as failure cases.

    Source: Guo et al. 2017, calibration; a list to look at, never a fault by itself.
    """
    probabilities, y = held_out_probabilities(subject)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero((predicted != y) & (confidence >= sure))
    wrong = wrong[np.argsort(-confidence[wrong])]
    share = len(wrong) / max(1, len(y))
    evidence.scores["confident_error_rate"] = share
    evidence.scores["test_accuracy"] = float((predicted == y).mean())
    names = subject.classes or tuple(range(probabilities.shape[1]))
    for row in wrong[:MOST_CASES].tolist():
        evidence.cases.append({
            "kind": "confident error", "split": "test", "row": row, "given": names[int(y[row])], "predicted": names[int(predicted[row])],
            "confidence": round(float(confidence[row]), 4), "sample": _sample(subject, row),
        })
    evidence.add(
        "confident_errors", Status.PASS, f"{len(wrong)} of {len(y)} test samples ({share:.1%}) are wrong with {sure:.0%} confidence or more",
        value=share, source="Guo et al. 2017, On calibration of modern neural networks",
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
        name for name in X.columns
        if not pd.api.types.is_numeric_dtype(X[name]) and X[name].nunique() > max(50, 0.2 * len(X))
    }
    personal = kinds_of(X)
    return {str(name): MASK if name in masked or name in personal else str(X[name].iloc[row]) for name in X.columns}
