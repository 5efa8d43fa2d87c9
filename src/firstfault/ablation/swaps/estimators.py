"""Known-good estimators: another kind, other settings, classes that weigh alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from firstfault.ablation.swap import Size, swap
from firstfault.errors import Missing
from firstfault.subject.subject import Subject
from firstfault.target.estimators import settings_of
from firstfault.training.estimator_settings import (
    FREER,
    LARGER,
    LONGER,
    TIGHTER,
    Changes,
    with_estimator,
    with_settings,
)
from firstfault.training.estimators import EstimatorModel, fresh
from firstfault.training.recipe import Recipe


def _params(subject: Subject) -> dict[str, Any]:
    return settings_of(_own(subject).estimator)


def _own(subject: Subject) -> EstimatorModel:
    model = subject.model
    if not isinstance(model, EstimatorModel):
        raise Missing("the model is no estimator")
    return model


def _setting(changes: Changes) -> Callable[[Subject], Recipe]:
    return lambda subject: with_settings(subject.recipe, _own(subject).estimator, changes)


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
    recipe = with_estimator(
        subject.recipe, lambda model: fresh(model.estimator).set_params(**dict.fromkeys(names, "balanced"))
    )
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
    return with_estimator(subject.recipe, _other, sparse=False)


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
