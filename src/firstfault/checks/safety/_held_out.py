"""The answers of a trained classifier to rows that it has not seen, which its safety is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np

from firstfault.errors import Missing
from firstfault.metrics import probabilities_of
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.target.declaration import Target
from firstfault.training.evaluation import predict
from firstfault.training.loop import Trained


@memo(of="raw")
def classifier(subject: Subject) -> Target:
    """The target, which declares data, model and training of a classifier; Missing where it does not."""
    target = subject.target
    if target.task != "classification":
        raise Missing("the task has no classes")
    for part in ("data", "model", "training"):
        if getattr(target, part) is None:
            raise Missing(f"the target declares no {part}")
    return target


def trained_model(subject: Subject) -> Trained:
    """The training, which came to its end; Missing where it crashed."""
    if subject.trained.crash is not None:
        raise Missing("the training crashed, so there is no model to judge")
    return subject.trained


@memo(of="trained")
def held_out_probabilities(subject: Subject) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Class probabilities `(N, K)` and class ids `(N,)` of the test split."""
    trained = trained_model(subject)
    outputs = predict(subject.recipe, trained.model, subject.recipe.test.x).float().cpu()
    return probabilities_of(outputs.numpy()), subject.recipe.test.y.cpu().numpy()
