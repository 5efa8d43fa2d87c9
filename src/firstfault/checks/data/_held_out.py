"""What the trained network answers to rows, asked about labels before its own layers are judged."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from firstfault.subject.subject import Subject
from firstfault.training.recipe import Tensors

Array = np.ndarray[Any, Any]


class Answers(NamedTuple):
    """Outputs `(N, K)` and labels `(N, L)` of some rows."""

    outputs: Array
    y: Array


def held_out(subject: Subject) -> Answers | None:
    """The network's answers on validation; None where it can't be trained or asked, which its own layer will say."""
    try:
        return answers_to(subject, subject.recipe.validation)
    except Exception:
        return None


def answers_to(subject: Subject, rows: Tensors) -> Answers | None:
    """The network's answers to rows; None where there are none, or not one for each row."""
    from firstfault.training.loop import predict

    outputs = predict(subject.recipe, subject.trained.model, rows.x).double().cpu().numpy()
    y = rows.y.cpu().numpy()
    if not len(y) or len(outputs) != len(y):
        return None
    return Answers(outputs.reshape(len(y), -1), y.reshape(len(y), -1))


def most_wrong(subject: Subject) -> float:
    """The most that the network may get wrong on validation (two standard errors), as a share; 1 where unknown."""
    held = held_out(subject)
    if held is None or held.y.shape[1] != 1 or held.outputs.shape[1] < 2 or not np.isfinite(held.outputs).all():
        return 1.0
    wrong, rows = int((held.outputs.argmax(1) != held.y[:, 0]).sum()), len(held.y)
    share = (wrong + 1) / (rows + 2)
    return float(share + 2 * np.sqrt(share * (1 - share) / rows))
