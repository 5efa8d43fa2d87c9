"""The served path of a target: what answers, what it is fed, and what it should have answered."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from firstfault.data.splits import Split, take, to_array
from firstfault.depth import Depth
from firstfault.errors import Missing, TargetError, UserCodeError
from firstfault.extras import installed
from firstfault.finding import Layer
from firstfault.imports import uncollected
from firstfault.interrupts import pass_on
from firstfault.subject.fitted_estimator import answering, parts_to_package, whole_estimator
from firstfault.subject.memo import memo, part
from firstfault.subject.subject import Subject
from firstfault.target.estimators import is_estimator
from firstfault.training.input_tree import InputTree, samples
from firstfault.training.loop import predict
from firstfault.training.preprocessing import to_inputs
from firstfault.training.recipe import outputs_of
from firstfault.training.tree_calls import TreeModel, as_declared, trees_of

GOLDEN_ROWS = 64
"""A service is asked with them in one call or one by one; one wrong answer of them is 1.6 %."""


@dataclass(frozen=True)
class Served:
    """A served model.

    `module` is the network that answers, where it can be seen; `call(raw)` gives its outputs as an array.

    `kind` says what it is: the user's `load`, a callable, an MLflow package …; `function` the user's own function
    that answers.
    """

    kind: str
    call: Callable[[Any], np.ndarray[Any, Any]]
    module: nn.Module | None = None
    function: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Golden:
    """Samples with known answers: raw inputs as a client sends them, prepared inputs, labels, and offline outputs."""

    raw: Any
    x: torch.Tensor | InputTree
    y: torch.Tensor
    outputs: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.x)


@part(Layer.DEPLOYMENT, "deployment.golden", of="trained")
def golden_of(subject: Subject) -> Golden:
    """Golden samples: the first 64 test rows, or `deployment.golden`, with what the trained model answers offline."""
    return golden_rows(subject, GOLDEN_ROWS)


def golden_rows(subject: Subject, rows: int) -> Golden:
    """As `golden_of`, of that many rows."""
    trained, recipe = sound_training(subject), subject.recipe
    declared = subject.deployment.golden
    if declared is not None and subject.target.prepare is None:
        split = Split(*declared)
        raw = split.X.head(rows) if isinstance(split.X, pd.DataFrame) else split.X[:rows]
        x: torch.Tensor | InputTree = _as_inputs(subject.pipeline.apply(raw), "preprocess")
        y = recipe.test.y[: len(x)]
    else:
        chosen = np.arange(min(rows, len(recipe.test)))
        x, y = recipe.test.x[: len(chosen)], recipe.test.y[: len(chosen)]
        raw = _sent(subject, x) if subject.target.prepare is not None else take(subject.raw.test, chosen).X
    if isinstance(x, InputTree):
        return Golden(raw, x, y, run_module(subject, trained.model.eval(), x))
    return Golden(raw, x, y, predict(recipe, trained.model, x).float().cpu().numpy())


def _sent(subject: Subject, x: torch.Tensor) -> Any:
    """Prepared samples as a client sends them, where nothing prepares them on the way."""
    trees = trees_of(subject.recipe.model)
    return x.numpy() if trees is None else InputTree(trees.tree(x), len(x))


def _as_inputs(prepared: Any, part: str) -> torch.Tensor | InputTree:
    if isinstance(prepared, InputTree):
        prepared.expect_tensors(part)
        return prepared
    return to_inputs(prepared, part)


def sound_training(subject: Subject) -> Any:
    """The trained model; Missing when there is none to serve."""
    trained = subject.trained
    if trained.crash is not None:
        raise Missing("the training crashed, so there is no model to serve")
    return trained


def serving_inputs(subject: Subject, raw: Any) -> torch.Tensor | InputTree:
    """Raw samples through the serving path's preprocessing, or through the training's when it has none of its own."""
    own = subject.deployment.preprocess
    if own is None:
        prepared = raw if subject.target.prepare is not None else subject.pipeline.apply(raw)
    else:
        step = own.transform if hasattr(own, "transform") else own
        given = raw.copy() if hasattr(raw, "copy") else raw
        prepared = _guard(subject, "deployment.preprocess", lambda: subject.pipeline.into_model(step(given)))
    return _as_inputs(samples(prepared, len(raw)), "deployment.preprocess")


@part(Layer.DEPLOYMENT, "loading the served model", of="trained")
def served_of(subject: Subject) -> Served:
    """What the target's deployment serves, loaded as its own code loads it.

    Raises:
        Missing: when there is nothing to serve.
        UserCodeError: when the user's save or load raises.
    """
    trained, deployment = sound_training(subject), subject.deployment
    if is_estimator(deployment.model):
        return _from_estimator(subject, deployment.model, "deployment.model")
    if isinstance(deployment.model, nn.Module):
        return _from_module(subject, deployment.model, "deployment.model")
    if callable(deployment.model):
        return _from_callable(subject, deployment.model, "deployment.model")
    if (load := deployment.load) is not None:
        path = _saved(subject, trained.model)
        loaded = _guard(subject, "deployment.load", lambda: load(path))
        if is_estimator(loaded):
            return _from_estimator(subject, loaded, "deployment.load")
        if isinstance(loaded, nn.Module):
            return _from_module(subject, loaded, "deployment.load")
        return _from_callable(subject, loaded, "deployment.load")
    if deployment.preprocess is not None and deployment.model is None:
        return _from_module(subject, trained.model, "the trained model behind deployment.preprocess")
    if deployment.model is None and not _is_packaged(subject, trained.model):
        return _from_module(subject, trained.model, "the trained model")
    from firstfault.tracking.packages import load_package

    where = str(deployment.model) if deployment.model is not None else str(packaged(subject))
    loaded = load_package(where)
    names_classes = not subject.target.by_gradients and subject.target.task == "classification"

    def call(raw: Any) -> np.ndarray[Any, Any]:
        found = _as_array(loaded(raw))
        return found.astype(str) if names_classes and found.ndim == 1 else found

    return Served("MLflow package", call)


def _is_packaged(subject: Subject, model: nn.Module) -> bool:
    """Whether a model that nothing of the user's serves is packaged: from depth standard on, as `Depth` says."""
    if subject.target.prepare is not None and trees_of(subject.recipe.model) is not None:
        return False  # a client of the package sends one array
    return subject.depth.includes(Depth.STANDARD) and _packable(model) and installed("mlflow")


def _packable(model: nn.Module) -> bool:
    """Whether a model can be pickled, as MLflow's package of it is.

    Torch makes the classes of parametrised layers up as it runs.
    """
    return not any(nn.utils.parametrize.is_parametrized(module) for module in model.modules())


@memo(of="trained")
def packaged(subject: Subject) -> Path:
    """The MLflow package of the trained model, written once into the run's folder.

    Raises:
        Missing: when parametrised layers, as after weight_norm, keep the model from being pickled.
    """
    if not _packable(subject.trained.model):
        raise Missing("a model with parametrised layers can be saved by its state only, not as an MLflow package")
    with uncollected():
        from firstfault.tracking.packaged_model import PackagedModel
        from firstfault.tracking.packages import save_estimator, save_package

    path = Path(subject.folder / "package")
    if not subject.target.by_gradients:
        save_estimator(parts_to_package(subject), golden_of(subject).raw, path, root=subject.target.root)
        return path
    example, model, recipe = golden_of(subject).raw, subject.trained.model.cpu().eval(), subject.recipe
    embeds = not recipe.inputs_for(model, recipe.train.x[:1]).is_floating_point()
    steps, trees = [step for _, step in subject.pipeline.steps], trees_of(recipe.model)
    style = None if trees is None else trees.style_for(model)
    package = PackagedModel.of(as_declared(model), steps, subject.raw.train.X, whole=embeds, style=style)
    save_package(package, example, path, root=subject.target.root)
    return path


def _saved(subject: Subject, model: nn.Module) -> Any:
    if (save := subject.deployment.save) is None:
        declared = subject.deployment.model
        return subject.target.root / declared if isinstance(declared, str | Path) else subject.folder / "trained.pt"
    path = subject.folder / "served_model"
    given = as_declared(model) if subject.target.by_gradients else whole_estimator(subject)
    _guard(subject, "deployment.save", lambda: save(given, path))
    if not path.exists() and (found := sorted(subject.folder.glob("served_model*"))):
        path.symlink_to(found[0].name)  # a suffix that save appended: load may append it too, or not
    return path


def _from_module(subject: Subject, module: nn.Module, kind: str) -> Served:
    def call(raw: Any) -> np.ndarray[Any, Any]:
        return run_module(subject, module, serving_inputs(subject, raw))

    return Served(kind, call, module)


def _from_estimator(subject: Subject, estimator: Any, kind: str) -> Served:
    """A fitted estimator: it is given what its pipeline's steps are, or raw samples behind the steps before it."""
    answer = answering(subject, estimator)

    def call(raw: Any) -> np.ndarray[Any, Any]:
        X = _estimator_inputs(subject, raw)
        return _guard(subject, kind, lambda: answer(X))  # type: ignore[no-any-return]

    return Served(kind, call)


def _estimator_inputs(subject: Subject, raw: Any) -> Any:
    own, raw = subject.deployment.preprocess, raw.copy() if hasattr(raw, "copy") else raw
    if own is None:
        return raw if subject.target.prepare is not None else subject.pipeline.before_model(raw)
    return _guard(subject, "deployment.preprocess", lambda: (own.transform if hasattr(own, "transform") else own)(raw))


def run_module(subject: Subject, module: nn.Module, x: torch.Tensor | InputTree) -> np.ndarray[Any, Any]:
    """Outputs of a network exactly as it was loaded: mode and dtype are its own."""
    if (trees := trees_of(subject.recipe.model)) is not None or isinstance(x, InputTree):
        return _run_with_trees(subject, trees, module, x)
    with torch.no_grad():
        x = subject.recipe.inputs_for(module, x)
        first = next(module.parameters(), None)
        if (
            first is not None
            and x.is_floating_point()
            and first.dtype in (torch.float16, torch.bfloat16, torch.float64)
        ):
            x = x.to(first.dtype)
        result = _guard(subject, "the served model", lambda: outputs_of(module(x)))
    return result.float().cpu().numpy()  # type: ignore[no-any-return]


def _run_with_trees(
    subject: Subject, trees: TreeModel | None, module: nn.Module, x: torch.Tensor | InputTree
) -> np.ndarray[Any, Any]:
    if trees is None:
        raise TargetError("deployment.preprocess must leave one array of samples as training does, but left a tree")
    with torch.no_grad():
        result = _guard(subject, "the served model", lambda: trees.answer(module, x))
    return result.float().cpu().numpy()  # type: ignore[no-any-return]


def _from_callable(subject: Subject, function: Callable[[Any], Any], kind: str) -> Served:
    prepares = subject.deployment.preprocess is not None

    def call(raw: Any) -> np.ndarray[Any, Any]:
        if prepares:
            return _as_array(_guard(subject, kind, lambda: function(_own(serving_inputs(subject, raw)))))
        with contextlib.suppress(Exception):
            return _as_array(function(_own(raw)))
        x = _own(serving_inputs(subject, raw))
        return _as_array(_guard(subject, kind, lambda: function(x)))

    return Served(kind, call, function=function)


def _own(inputs: Any) -> Any:
    """Inputs as code of the user's is given them."""
    return inputs.tree if isinstance(inputs, InputTree) else inputs


def _guard(subject: Subject, part: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except BaseException as error:
        pass_on(error)
        raise UserCodeError(Layer.DEPLOYMENT, part, error, subject.target.root) from error


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, dict):
        value = next(iter(value.values()))
    if isinstance(value, pd.DataFrame):
        value = value.to_numpy()
    return to_array(value)
