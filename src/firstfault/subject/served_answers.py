"""How far the answers of a served path are those of the trained model."""

from __future__ import annotations

from typing import Any

import numpy as np

from firstfault.subject.subject import Subject


def labels_of(subject: Subject, outputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Class ids of outputs, which may be scores `(N, K)`, ids `(N,)` or class values `(N,)`."""
    from firstfault.metrics import classes_of

    if outputs.ndim == 1 and outputs.dtype.kind in "OUS":
        index = {str(value): number for number, value in enumerate(subject.classes)}
        return np.array([index.get(str(value), -1) for value in outputs])
    if outputs.ndim == 1 and outputs.dtype.kind in "iu":
        return outputs
    return classes_of(outputs)


def agreement(subject: Subject, offline: np.ndarray[Any, Any], served: np.ndarray[Any, Any]) -> float:
    """The share of samples answered alike, 0–1: same class, or the same number within 1 % of the deviation."""
    if len(offline) != len(served):
        return 0.0
    if subject.target.task == "classification":
        return float(np.mean(labels_of(subject, offline) == labels_of(subject, served)))
    if offline.size != served.size:
        return 0.0
    scale = max(float(offline.std()), 1e-6)
    return float(np.mean(np.abs(offline - served.reshape(offline.shape)) <= 0.01 * scale))


def apart(offline: np.ndarray[Any, Any], served: np.ndarray[Any, Any]) -> float:
    """The largest difference of scores relative to their scale; probabilities are compared with softmax of logits.

    Outputs of other shapes (labels against scores) count as 0: agreement judges them.
    """
    if offline.shape != served.shape:
        return 0.0
    candidates = [offline]
    if offline.ndim == 2 and offline.shape[1] > 1:
        shifted = np.exp(offline - offline.max(1, keepdims=True))
        candidates.append(shifted / shifted.sum(1, keepdims=True))
    else:
        candidates.append(1 / (1 + np.exp(-np.clip(offline, -50, 50))))
    served = served.astype(float)
    return min(float(np.abs(one - served).max() / max(float(np.abs(one).max()), 1e-9)) for one in candidates)
