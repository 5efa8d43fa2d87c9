"""What an estimator of scikit-learn's style is, and which of its steps prepare the data."""

from __future__ import annotations

import copy
from typing import Any

UNSUPPORTED = frozenset({"keras", "tensorflow"})
"""Libraries whose models are neither networks of PyTorch nor estimators."""


def unsupported(model: Any) -> bool:
    """Whether a model, or a class of models, is of a library that is not supported."""
    kind = model if isinstance(model, type) else type(model)
    return not UNSUPPORTED.isdisjoint(base.__module__.partition(".")[0] for base in kind.__mro__)


def is_estimator(value: Any) -> bool:
    """Whether a value is fitted and predicts: an object with `fit` and `predict` that is no network.

    One made of others, as a stack of them, may predict only once it is fitted; its class tells.
    """
    if isinstance(value, type) or hasattr(value, "state_dict") or unsupported(value):
        return False
    return callable(getattr(value, "fit", None)) and (hasattr(value, "predict") or hasattr(type(value), "predict"))


def estimator_of(model: Any) -> Any:
    """The estimator that a target's `model` is, or builds; None where it is a network, or can't be built."""
    if model is None or is_estimator(model):
        return model
    if isinstance(model, type) and hasattr(model, "state_dict"):
        return None
    from firstfault.interrupts import pass_on
    from firstfault.seeds import same_random_state

    try:
        with same_random_state():
            built = model()
    except BaseException as error:  # which is a finding of the run
        pass_on(error)
        return None
    return built if is_estimator(built) else None


def settings_of(estimator: Any) -> dict[str, Any]:
    """The settings of an estimator and of its parts, as scikit-learn names them; none of one that does not tell."""
    return dict(estimator.get_params()) if hasattr(estimator, "get_params") else {}


def of_trees(estimator: Any) -> bool:
    """Whether an estimator is made of trees alone, which ask for the order of their inputs and not for their scale."""
    own = type(estimator).__module__.split(".")
    settings = settings_of(estimator)
    if own[0] in ("lightgbm", "xgboost", "catboost"):
        return settings.get("booster") != "gblinear" and not settings.get("linear_tree")
    return own[:2] in (["sklearn", "tree"], ["sklearn", "ensemble"]) and "estimator" not in settings


def parted(estimator: Any) -> tuple[list[tuple[str, Any]], Any]:
    """The first steps of a pipeline that only transform, and the estimator behind them.

    A step that does not transform, as one that draws rows anew, stays with what is behind it.
    """
    steps = getattr(estimator, "steps", None)
    if not isinstance(steps, list) or not steps or not hasattr(estimator, "named_steps"):
        return [], estimator
    first = 0
    while first < len(steps) - 1 and _transforms(steps[first][1]):
        first += 1
    if first == len(steps) - 1:
        return steps[:first], steps[-1][1]
    return steps[:first], with_steps(estimator, steps[first:])


def working(steps: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The steps of a pipeline that do something."""
    return [(name, step) for name, step in steps if not (step is None or isinstance(step, str))]


def _transforms(step: Any) -> bool:
    return step is None or isinstance(step, str) or hasattr(step, "transform")


def with_steps(pipeline: Any, steps: list[tuple[str, Any]]) -> Any:
    """A pipeline like another with other steps."""
    changed = copy.copy(pipeline)
    changed.steps = list(steps)
    return changed
