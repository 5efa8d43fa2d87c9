"""Known-good estimators: another kind, other settings, classes that weigh alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from firstfault.ablation.swap import Size, swap
from firstfault.errors import Missing
from firstfault.subject.subject import Subject
from firstfault.target.estimators import settings_of
from firstfault.training.estimators import EstimatorModel, fresh
from firstfault.training.recipe import Recipe
from firstfault.values import is_number

Change = Callable[[Any], Any]
FAR = 100.0
"""How many times weaker a penalty becomes."""
USUAL = 1.0
"""The penalty that scikit-learn, XGBoost and LightGBM set by default, which a weaker one does not exceed."""
MORE = 10
"""How many times more rounds there are."""
ROUNDS = 100
"""As many rounds at least: scikit-learn's default for forests and boosting."""


def _number(change: Callable[[float], float]) -> Change:
    return lambda value: change(value) if is_number(value) else value


FREER: Mapping[str, Change] = {
    "C": _number(lambda value: max(USUAL, value * FAR)),
    **dict.fromkeys(
        ("alpha", "reg_alpha", "reg_lambda", "l2_regularization"), _number(lambda value: min(USUAL, value / FAR))
    ),
    "ccp_alpha": _number(lambda _: 0.0),
    "min_samples_leaf": _number(lambda value: min(value, 20) if value >= 1 else value / FAR),
}
"""By setting, what weakens a penalty."""
LONGER: Mapping[str, Change] = dict.fromkeys(
    ("n_estimators", "max_iter", "iterations"), _number(lambda value: max(ROUNDS, int(value * MORE)))
)
LARGER: Mapping[str, Change] = {
    "max_depth": lambda value: None if value is None or value < 0 else max(6, 2 * value),
    "max_leaf_nodes": lambda value: value and max(31, 4 * value),
    "num_leaves": _number(lambda value: max(31, 4 * value)),
    "n_neighbors": _number(lambda value: min(value, 5)),
    "hidden_layer_sizes": lambda value: (100,),
}
"""By setting, what lets a model fit more."""
TIGHTER: Mapping[str, Change] = {
    "C": _number(lambda value: value / FAR),
    **dict.fromkeys(("alpha", "reg_alpha", "reg_lambda", "l2_regularization"), _number(lambda value: value * FAR)),
    "max_depth": lambda value: 4 if value is None or value < 0 else min(value, 4),
    "min_samples_leaf": _number(lambda value: max(value, 20) if value >= 1 else value),
    "n_neighbors": _number(lambda value: max(value, 15)),
}
"""By setting, what keeps a model from learning rows by heart."""


def _params(subject: Subject) -> dict[str, Any]:
    return settings_of(_own(subject).estimator)


def _own(subject: Subject) -> EstimatorModel:
    model = subject.model
    if not isinstance(model, EstimatorModel):
        raise Missing("the model is no estimator")
    return model


def _with(recipe: Recipe, make: Callable[[EstimatorModel], Any], *, sparse: bool | None = None) -> Recipe:
    """The recipe of another estimator, made of the target's own, that takes sparse inputs where it does."""
    build = recipe.model

    def built() -> EstimatorModel:
        model: Any = build()
        form = model.form if sparse is None else replace(model.form, sparse=sparse)
        return EstimatorModel(make(model), model.task, model.classes, form)

    return replace(recipe, model=built)


def _set(subject: Subject, changes: Mapping[str, Change]) -> Recipe:
    """The recipe with the estimator's settings changed, those of its parts too."""
    params = _params(subject)
    quantile = "loss" in params and "n_estimators" in params  # whose alpha is no penalty
    changed = {
        name: changes[setting](value)
        for name, value in params.items()
        if (setting := name.rpartition("__")[2]) in changes and not (quantile and setting == "alpha")
    }
    changed = {name: value for name, value in changed.items() if value != params[name]}
    if not changed:
        raise Missing("the estimator has no such setting")
    return _with(subject.recipe, lambda model: fresh(model.estimator).set_params(**changed))


def _setting(changes: Mapping[str, Change]) -> Callable[[Subject], Recipe]:
    return lambda subject: _set(subject, changes)


SETTINGS = (
    ("weaker_penalty", "a usual penalty, 100 times weaker at least", "over_regularised", FREER),
    ("more_rounds", "10 times as many rounds", "too_few_epochs", LONGER),
    ("larger_estimator", "an estimator that may fit more", "insufficient_capacity", LARGER),
    ("tighter_estimator", "an estimator that may fit less", "overfitting", TIGHTER),
)
"""Other settings: the swap's name, its change, the fault, what becomes of each setting."""
for _name, _change, _fault, _changes in SETTINGS:
    swap(change=_change, undoes=(_fault,), size=Size.SETTING, name=_name, slot="estimator", estimators=True)(
        _setting(_changes)
    )


@swap(change="classes that weigh alike", undoes=("class_imbalance",), size=Size.SETTING, estimators=True)
def class_weights(subject: Subject) -> Recipe:
    """The estimator's own class weights, by how rare a class is; judged by balanced accuracy, or AUC if that is it."""
    names = [name for name in _params(subject) if name.rpartition("__")[2] == "class_weight"]
    if subject.recipe.task != "classification" or not names:
        raise Missing("the estimator takes no class weights")
    recipe = _with(subject.recipe, lambda model: fresh(model.estimator).set_params(**dict.fromkeys(names, "balanced")))
    return recipe.with_training(metric="auc" if recipe.training.metric == "auc" else "balanced_accuracy")


@swap(
    change="another estimator",
    undoes=("insufficient_capacity", "overfitting"),
    size=Size.PART,
    slot="estimator",
    estimators=True,
)
def another_estimator(subject: Subject) -> Recipe:
    """A linear model on standardised inputs where the target's own is linear, or of trees; else boosted trees."""
    _own(subject)
    return _with(subject.recipe, _other, sparse=False)


def _other(model: EstimatorModel) -> Any:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    kind = type(model.estimator).__module__
    plain = any(word in kind for word in ("linear_model", "tree", "ensemble", "xgboost", "lightgbm", "catboost"))
    linear = Ridge() if model.task == "regression" else LogisticRegression(max_iter=1000)
    boosted = HistGradientBoostingRegressor if model.task == "regression" else HistGradientBoostingClassifier
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    if model.form.dtypes is not None:
        categories = make_column_selector(dtype_include="category")
        numbers = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), categories), remainder=numbers)
    chosen = make_pipeline(numbers, linear) if plain else boosted(max_iter=50)
    return MultiOutputClassifier(chosen) if model.task == "multilabel" else chosen
