"""What the trained network answers to rows, asked about labels before its own layers are judged."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from firstfault.metrics import probabilities_of
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Tensors

Array = np.ndarray[Any, Any]


FEW = slice(3_000)
"""Bounds the time; how sure a network is in the mean errs by less than 0.01 on so many."""


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
    from firstfault.training.evaluation import predict

    outputs = predict(subject.recipe, subject.trained.model, rows.x).double().cpu().numpy()
    y = rows.y.cpu().numpy()
    if not len(y) or len(outputs) != len(y):
        return None
    return Answers(outputs.reshape(len(y), -1), y.reshape(len(y), -1))


class Probabilities(NamedTuple):
    """The network's probabilities `(N, K)` for rows that it has not learnt from, with their class ids `(N,)`.

    `surer` is by how much it is surer of them than of those that it has learnt from.
    """

    values: Array
    y: Array
    surer: float

    @property
    def accuracy(self) -> float:
        """The share of rows whose likeliest class is the given one."""
        return float(np.mean(self.values.argmax(1) == self.y))


def held_out_probabilities(subject: Subject) -> Probabilities | None:
    """What the network says of validation and test; a row for each of several labels. None where it has no classes."""
    if subject.target.task not in ("classification", "multilabel"):
        return None
    try:
        recipe = subject.recipe
        parts = [answers_to(subject, part) for part in (recipe.validation, recipe.test, recipe.train.rows(FEW))]
    except Exception:  # its own layer will say
        return None
    read = [_read(part, subject.target.task) for part in parts if part is not None]
    if len(read) < len(parts) or any(part is None for part in read):
        return None
    (*held, learnt) = [part for part in read if part is not None]
    values, y = (np.concatenate(pair) for pair in zip(*held, strict=True))
    return Probabilities(values, y, float(values.max(1).mean() - learnt[0].max(1).mean()))


def _read(answers: Answers, task: str) -> tuple[Array, Array] | None:
    """Probabilities `(N, K)` and class ids `(N,)` of answers; None of what are none."""
    outputs, y = answers
    if not np.isfinite(outputs).all() or not np.isfinite(y).all():
        return None
    if task == "multilabel":
        if outputs.shape != y.shape or not np.isin(y, (0, 1)).all():
            return None
        outputs, y = outputs.reshape(-1, 1), y.reshape(-1, 1)
    values = probabilities_of(outputs)
    if y.shape[1] != 1 or y.min() < 0 or y.max() >= values.shape[1]:
        return None
    return values, y[:, 0].astype(int)


def most_wrong(subject: Subject) -> float:
    """The most that the network may get wrong on validation (two standard errors), as a share; 1 where unknown."""
    held = held_out(subject)
    if held is None or held.y.shape[1] != 1 or held.outputs.shape[1] < 2 or not np.isfinite(held.outputs).all():
        return 1.0
    wrong, rows = int((held.outputs.argmax(1) != held.y[:, 0]).sum()), len(held.y)
    share = (wrong + 1) / (rows + 2)
    return float(share + 2 * np.sqrt(share * (1 - share) / rows))
