"""A fitted estimator as its user serves it: whole, with the steps of its pipeline, given raw samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from firstfault.subject.subject import Subject
from firstfault.target.estimators import parted, with_steps, working
from firstfault.training.estimators import EstimatorModel, Form


def whole_estimator(subject: Subject) -> Any:
    """The fitted estimator as the target declares it: its final part behind the fitted steps of its pipeline."""
    declared, model = subject.target.estimator, subject.trained.model
    assert isinstance(model, EstimatorModel)
    final = model.estimator
    fitted = list(subject.pipeline.of_model)
    if not fitted:
        return final
    own, _ = parted(declared)
    active = dict(zip((name for name, _ in working(own)), fitted, strict=True))
    steps = [(name, active.get(name, step)) for name, step in own]
    last = declared.steps[len(own) :]
    return with_steps(declared, [*steps, *([(last[0][0], final)] if len(last) == 1 else final.steps)])


def parts_to_package(subject: Subject) -> list[tuple[str, Any]]:
    """The fitted steps from raw samples to the estimator, objects and functions, and the estimator itself.

    A first one gives columns the types that a client can't send.
    """
    pipeline, raw = subject.pipeline, subject.raw.train.X
    before = [(name, step) for name, step in pipeline.steps[: len(pipeline.steps) - len(pipeline.of_model)]]
    kinds = dict(raw.dtypes) if isinstance(raw, pd.DataFrame) else {}
    lost = {name: kind for name, kind in kinds.items() if isinstance(kind, pd.CategoricalDtype)}
    typed = [("types", lambda X: X.astype(lost))] if lost else []
    whole = whole_estimator(subject)
    own = working(whole.steps) if pipeline.of_model else [("model", whole)]
    return [*typed, *before, *own]


def answering(subject: Subject, estimator: Any) -> Callable[[Any], np.ndarray[Any, Any]]:
    """The outputs of a loaded estimator, a pipeline with its own steps or not, for inputs in the form that it takes."""
    model = EstimatorModel(estimator, subject.target.task, subject.classes, Form.of(subject.raw.train.X), fitted=True)
    return model.answer
