"""What a change of an estimator's settings makes of its freedom: a weaker penalty, more rounds, a tighter fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from firstfault.errors import Missing
from firstfault.target.estimators import settings_of
from firstfault.training.estimators import EstimatorModel, fresh
from firstfault.training.recipe import Recipe
from firstfault.values import is_number

Change = Callable[[Any], Any]
Changes = Mapping[str, Change]
FAR = 100.0
"""How many times weaker a penalty becomes."""
USUAL = 1.0
"""The penalty that scikit-learn, XGBoost and LightGBM set by default, which a weaker one does not exceed."""
MORE = 10
"""How many times more rounds there are."""
ROUNDS = 100
"""scikit-learn's default for forests and boosting: as many at least where more are tried, at most where fewer are."""
RATE = 0.1
"""What boosting learns by, of each tree, where no more is tried: scikit-learn's and LightGBM's default."""


def _number(change: Callable[[float], float]) -> Change:
    return lambda value: change(value) if is_number(value) else value


FREER: Changes = {
    "C": _number(lambda value: max(USUAL, value * FAR)),
    **dict.fromkeys(
        ("alpha", "reg_alpha", "reg_lambda", "l2_regularization"), _number(lambda value: min(USUAL, value / FAR))
    ),
    "ccp_alpha": _number(lambda _: 0.0),
    "min_samples_leaf": _number(lambda value: min(value, 20) if value >= 1 else value / FAR),
}
"""By setting, what weakens a penalty."""
LONGER: Changes = dict.fromkeys(
    ("n_estimators", "max_iter", "iterations"), _number(lambda value: max(ROUNDS, int(value * MORE)))
)
LARGER: Changes = {
    "max_depth": lambda value: None if value is None or value < 0 else max(6, 2 * value),
    "max_leaf_nodes": lambda value: value and max(31, 4 * value),
    "num_leaves": _number(lambda value: max(31, 4 * value)),
    "n_neighbors": _number(lambda value: min(value, 5)),
    "hidden_layer_sizes": lambda value: (100,),
}
"""By setting, what lets a model fit more."""
TIGHTER: Changes = {
    "C": _number(lambda value: value / FAR),
    **dict.fromkeys(("alpha", "reg_alpha", "reg_lambda", "l2_regularization"), _number(lambda value: value * FAR)),
    **dict.fromkeys(("max_depth", "depth"), lambda value: 4 if value is None or value < 0 else min(value, 4)),
    **dict.fromkeys(("num_leaves", "max_leaf_nodes"), _number(lambda value: min(value, 15))),
    **dict.fromkeys(
        ("min_samples_leaf", "min_child_samples"), _number(lambda value: max(value, 20) if value >= 1 else value)
    ),
    "n_neighbors": _number(lambda value: max(value, 15)),
    "learning_rate": lambda value: RATE if value is None else _number(lambda rate: min(rate, RATE))(value),
    **dict.fromkeys(LONGER, _number(lambda value: min(value, ROUNDS))),
}
"""By setting, what keeps a model from learning rows by heart."""


def with_estimator(recipe: Recipe, make: Callable[[EstimatorModel], Any], *, sparse: bool | None = None) -> Recipe:
    """The recipe of another estimator, made of the target's own, that takes sparse inputs where it does."""
    build = recipe.model

    def built() -> EstimatorModel:
        model: Any = build()
        form = model.form if sparse is None else replace(model.form, sparse=sparse)
        return EstimatorModel(make(model), model.task, model.classes, form)

    return replace(recipe, model=built)


def with_settings(recipe: Recipe, estimator: Any, changes: Changes) -> Recipe:
    """The recipe with the estimator's settings changed, those of its parts too.

    Raises:
        Missing: when it has none of them, or all are so already.
    """
    params = settings_of(estimator)
    quantile = "loss" in params and "n_estimators" in params  # whose alpha is no penalty
    changed = {
        name: changes[setting](value)
        for name, value in params.items()
        if (setting := name.rpartition("__")[2]) in changes and not (quantile and setting == "alpha")
    }
    changed = {name: value for name, value in changed.items() if value != params[name]}
    if not changed:
        raise Missing("the estimator has no such setting")
    return with_estimator(recipe, lambda model: fresh(model.estimator).set_params(**changed))
