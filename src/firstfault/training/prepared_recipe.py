"""The recipe of prepared splits: their inputs and labels as tensors, with the target's model and training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from firstfault.data.splits import Splits
from firstfault.errors import TargetError, UserCodeError
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.target.declaration import Training
from firstfault.target.estimators import is_estimator
from firstfault.training.estimators import EstimatorModel, Form, fresh
from firstfault.training.input_tree import InputTree
from firstfault.training.preprocessing import Labels, to_inputs
from firstfault.training.recipe import Recipe, Tensors
from firstfault.training.tree_calls import TreeModel, as_own, of_splits, trees_of, with_trees


def make_recipe(
    task: str, prepared: Splits, model: Any, training: Training, root: Path, *, sparse: bool = False
) -> tuple[Recipe, tuple[Any, ...]]:
    """The recipe of prepared splits, and the classes in the order of their ids.

    `model` builds a network, or is an estimator, which gets `sparse` inputs as such. Where inputs are a tree, each
    sample stands as a row of one tensor.

    Raises:
        UserCodeError: when a split's inputs or labels don't become tensors.
    """
    trees = trees_of(model)
    if trees is not None:
        model, training = trees.own, as_own(training)
    labels, estimator = Labels.of(task, prepared.train.y), is_estimator(model)
    form = Form.of(prepared.train.X, sparse=sparse)
    pairs, build = [], model if not estimator else lambda: EstimatorModel(fresh(model), task, labels.classes, form)
    for name, split in prepared.items():
        with _told(name, root):
            X = form.numbers(split.X) if estimator else split.X
            pairs.append(_pair(X, labels.encode(split.y), name))
    if isinstance(prepared.train.X, InputTree):
        with _told("train", root):
            pairs, build = _of_trees(prepared, pairs, model)
        training = with_trees(training, build)
    train, validation, test = pairs
    return Recipe(task, train, validation, test, build, training, len(labels.classes), root), labels.classes


@contextlib.contextmanager
def _told(split: str, root: Path) -> Iterator[None]:
    """What is raised here is the user's."""
    try:
        yield
    except BaseException as error:
        pass_on(error)
        known = "preprocess" if isinstance(error, TargetError) else f"the prepared {split} split"
        raise UserCodeError(Layer.PREPROCESSING, known, error, root) from error


def _pair(X: Any, y: torch.Tensor, name: str) -> Tensors:
    x = torch.arange(len(X)) if isinstance(X, InputTree) else to_inputs(X)
    if len(x) != len(y):
        raise TargetError(
            f"preprocess must keep one input per label, but leaves {len(x)} inputs for {len(y)} labels of {name}"
        )
    return Tensors(x, y)


def _of_trees(prepared: Splits, pairs: list[Tensors], model: Any) -> tuple[list[Tensors], TreeModel]:
    """The rows of trees with their labels, and the factory of models that are called with them."""
    if is_estimator(model):
        raise TargetError("preprocess must leave one array of samples for an estimator, but left several inputs")
    trees = [split.X for _, split in prepared.items()]
    for tree in trees:
        if not isinstance(tree, InputTree):
            raise TargetError(
                f"preprocess must leave inputs of one kind in all splits, but left {type(tree).__name__} too"
            )
        tree.expect_tensors("preprocess")
    inputs, rows = of_splits(trees)
    return [Tensors(x, pair.y) for x, pair in zip(rows, pairs, strict=True)], TreeModel(model, inputs)
