"""Whether an estimator asks for the order of its inputs alone, as trees do, or answers by their scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from firstfault.interrupts import pass_on
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.target.estimators import of_trees
from firstfault.training.estimators import EstimatorModel, scaled_columns
from firstfault.training.recipe import Tensors

ROWS = 1_000  # to fit on: bounds the time
ALIKE = 0.99  # of the answers: a tree's threshold may fall on the other side of a rounded value
NEAR = 0.01  # of the deviation of the answers


@memo(of="model")
def scale_free(subject: Subject) -> bool:
    """Whether the model is an estimator of trees, or answers alike when its inputs are standardised: on 1,000 rows."""
    if isinstance(subject.model, EstimatorModel) and of_trees(subject.model.estimator):
        return True
    rows = subject.recipe.train.rows(slice(ROWS))
    return _alike(subject, rows, Tensors(_standardised(rows.x, scaled_columns(subject.model, rows.x)), rows.y))


def _standardised(x: torch.Tensor, scaled: torch.Tensor) -> torch.Tensor:
    """Columns of mean 0 and deviation 1; missing values and codes of categories stay."""
    values = x.double()
    centred = values - values.nanmean(0)
    deviation = centred.pow(2).nanmean(0).sqrt()
    return (centred / torch.where(deviation > 0, deviation, torch.ones_like(deviation))).where(scaled, values).float()


def _alike(subject: Subject, first: Tensors, second: Tensors) -> bool:
    if subject.target.by_gradients:
        return False
    try:
        answers = [_answers(subject, rows) for rows in (first, second)]
    except BaseException as error:  # of the estimator's fit, which the training will say
        pass_on(error)
        return False
    a, b = answers
    near = np.abs(a - b) <= NEAR * max(float(a.std()), 1e-9)
    return bool(near.reshape(len(near), -1).all(1).mean() >= ALIKE)


def _answers(subject: Subject, rows: Tensors) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    model = subject.recipe.build(subject.seed)
    assert isinstance(model, EstimatorModel)
    model.form = replace(model.form, sparse=False)  # of which a standardised one would leave out other values
    model.fit(rows.x, rows.y, (rows.x, rows.y))
    with torch.no_grad():
        outputs = model(rows.x).double()
    return (outputs.exp() if subject.target.task == "classification" else outputs).numpy()
