"""The trained model as an MLflow package: saved with its preprocessing and signature, loaded, and served."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from firstfault.imports import uncollected
from firstfault.metrics import Array

if TYPE_CHECKING:
    from firstfault.tracking.packaged_model import PackagedModel

REQUIREMENTS = ("torch", "numpy", "pandas", "scikit-learn", "mlflow")
BOOSTERS = {"xgboost": ("xgboost", "xgboost-cpu"), "lightgbm": ("lightgbm",), "catboost": ("catboost",)}
"""By library of boosted trees, the distributions that bring it."""


def save_package(model: PackagedModel, example: Any, path: Path, *, root: Path) -> None:
    """Write a trained model with its fitted preprocessing as an MLflow pyfunc package.

    The signature is inferred from raw `example` inputs and their outputs. Code of the user's folder `root` is
    pickled by value, so that the package loads where that file is not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow would have type hints, examples and wider integers
        _save(model, example, path, root)


def _save(model: PackagedModel, example: Any, path: Path, root: Path) -> None:
    with uncollected():
        import mlflow.pyfunc
        from mlflow.models import infer_signature

    inputs = as_client(example)
    signature = infer_signature(inputs, model.answer(example))
    shutil.rmtree(path, ignore_errors=True)
    with _by_value(root):
        mlflow.pyfunc.save_model(
            str(path),
            python_model=model,
            signature=signature,
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
        )


def save_estimator(parts: Sequence[tuple[str, Any]], example: Any, path: Path, *, root: Path) -> None:
    """Write a fitted estimator behind its fitted steps as one pipeline, in MLflow's flavour of scikit-learn.

    `parts` are the steps, objects that transform or functions, and the estimator. The package answers raw samples like
    `example` with probabilities where the estimator has them, else with its predictions.
    """
    import mlflow.sklearn
    from mlflow.models import infer_signature
    from sklearn.pipeline import Pipeline

    steps = [
        (f"{number}_{name}".replace("__", "_"), _transformer(step)) for number, (name, step) in enumerate(parts[:-1])
    ]
    whole, inputs = Pipeline([*steps, parts[-1]]), as_client(example)
    ask = "predict_proba" if hasattr(parts[-1][1], "predict_proba") else "predict"
    shutil.rmtree(path, ignore_errors=True)
    with warnings.catch_warnings(), _by_value(root):
        warnings.simplefilter("ignore")  # MLflow would have examples and wider integers
        mlflow.sklearn.save_model(
            whole,
            str(path),
            signature=infer_signature(inputs, getattr(whole, ask)(inputs)),
            serialization_format="cloudpickle",
            pyfunc_predict_fn=ask,
            pip_requirements=[f"{name}=={version(name)}" for name in _needed_by(parts[-1][1])],
        )


def _transformer(step: Any) -> Any:
    """A step of a pipeline of scikit-learn: an object of its kind as it is, a function or a foreign object wrapped."""
    from sklearn.base import BaseEstimator
    from sklearn.preprocessing import FunctionTransformer

    owner = getattr(step, "__self__", step)
    return owner if isinstance(owner, BaseEstimator) and hasattr(owner, "transform") else FunctionTransformer(step)


def _needed_by(estimator: Any) -> list[str]:
    """The distributions that a served estimator needs."""
    own = type(estimator).__module__.partition(".")[0]
    return ["numpy", "pandas", "scikit-learn", "mlflow", *_installed(BOOSTERS.get(own, ()))]


def _installed(names: Sequence[str]) -> list[str]:
    """The first of some distributions, each in the place of the others, that is installed."""
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            version(name)
            return [name]
    return []


@contextlib.contextmanager
def _by_value(root: Path) -> Iterator[None]:
    """Pickle the code of the user's folder by value, and keep MLflow quiet."""
    import cloudpickle

    modules = [module for module in (sys.modules.get(name) for name in _own_modules(root)) if module]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        with _versions_known():
            yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


@contextlib.contextmanager
def _versions_known() -> Iterator[None]:
    """Spare MLflow the comparison of the requirements with what is installed, from where they were just read.

    It lists the files of every installed distribution for that: a CPU second and more.
    """
    from mlflow.utils import environment

    name = "warn_dependency_requirement_mismatches"
    compared = getattr(environment, name, None)
    if compared is None:
        yield
        return
    setattr(environment, name, lambda requirements: None)
    try:
        yield
    finally:
        setattr(environment, name, compared)


def scoring_server(host: str, port: int, login: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of MLflow's scoring server: `mlflow models serve` without the process that waits.

    It imports what it needs, and serves the package whose path it then reads as a line. It answers at its own address
    only, and to who sends `login`.
    """
    from firstfault.tracking import guarded

    factory = f"{guarded.__name__}:{guarded.scoring_server.__name__}"
    command = [sys.executable, "-m", "uvicorn", "--host", host, "--port", str(port), "--workers", "1"]
    return [*command, "--factory", factory], {**os.environ, guarded.LOGIN: login}


def _own_modules(root: Path) -> list[str]:
    """The modules of the user's folder, the target's file among them."""
    root = root.resolve()
    return [
        name
        for name, module in list(sys.modules.items())
        if getattr(module, "__file__", None)
        and name != "__main__"
        and Path(str(module.__file__)).resolve().is_relative_to(root)
        and "site-packages" not in Path(str(module.__file__)).parts
        and name.partition(".")[0] != "firstfault"
    ]


def load_package(where: str) -> Callable[[Any], Any]:
    """The `predict` of a package at a path or an MLflow URI; it enforces the signature."""
    import mlflow.pyfunc

    loaded = mlflow.pyfunc.load_model(where, suppress_warnings=True)  # of versions, for which it reads all packages
    return lambda raw: loaded.predict(as_client(raw))


def as_client(raw: Any) -> pd.DataFrame | Array:
    """Raw inputs as a client sends them: categories as text, nullable numbers as floats, arrays as they are."""
    if isinstance(raw, pd.DataFrame):
        return raw.apply(_sent)
    return np.asarray(raw)


def _sent(column: pd.Series) -> pd.Series:
    if str(column.dtype) == "category":
        return column.astype(str)
    if pd.api.types.is_extension_array_dtype(column.dtype) and pd.api.types.is_numeric_dtype(column.dtype):
        return pd.Series(column.to_numpy(dtype=float, na_value=np.nan), index=column.index, name=column.name)
    return column
