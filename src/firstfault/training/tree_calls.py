"""How a target's own code is called with inputs that are a tree: its model, its `fit`, its loader, its augmentation.

All else of firstfault hands samples on as one tensor: the samples themselves where all else follows from them (tokens,
with a mask of those that are no padding), else their numbers, by which they are looked up.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from firstfault.errors import TargetError
from firstfault.interrupts import pass_on
from firstfault.target.declaration import Training
from firstfault.training.answers import Answer
from firstfault.training.batches import is_pair
from firstfault.training.call_tree import Arguments
from firstfault.training.input_forms import inputs_of
from firstfault.training.input_tree import InputTree
from firstfault.training.one_tensor import Batches, Inputs, OneTensorCall, call_of
from firstfault.training.recipe import Recipe, Tensors, outputs_of

MOST_TRIED = 8  # samples: whether a call raises shows on a few
Forward = Callable[..., Any]


class OwnAnswer(Answer):
    """What a target's model answers with: its first output, or its `logits`."""

    def of(self, value: Any) -> torch.Tensor:
        """The tensor `(N, …)` within what a model returned."""
        return outputs_of(value)


def of_splits(trees: list[InputTree]) -> tuple[Inputs, list[torch.Tensor]]:
    """The inputs of all splits as one tensor, and the rows of each split.

    Raises:
        TargetError: where a tensor has another shape in another split, and no mask says what fills it up.
    """
    filled = [tree for tree in trees if len(tree)]
    calls, sizes = [tree.arguments for tree in filled], [len(tree) for tree in filled]
    inputs = next(inputs_of(calls, [], sizes))
    if isinstance(inputs, Batches):
        raise TargetError(f"preprocess must leave samples of one shape in all splits, but left {_shapes(calls)}")
    parts = iter(torch.split(inputs.x, sizes))
    return inputs, [next(parts) if len(tree) else inputs.x[:0] for tree in trees]


def _shapes(calls: list[Arguments]) -> str:
    told = [
        {slot.name: tuple(value.shape[1:]) for slot, value in zip(call.slots, call.tensors, strict=True)}
        for call in calls
    ]
    other = [name for name in told[0] if len({each.get(name) for each in told}) > 1]
    return (
        "; ".join(f"{name} {' and '.join(map(str, dict.fromkeys(each.get(name) for each in told)))}" for name in other)
        or "other inputs in another split"
    )


class Spelled:
    """A forward function that takes a tree: as it is, by its names, or part by part."""

    def __init__(self, forward: Forward, style: str) -> None:
        self.forward, self.style = forward, style

    def __call__(self, tree: Any) -> Any:
        if self.style == "named":
            return self.forward(**tree)
        return self.forward(*tree) if self.style == "spread" else self.forward(tree)


def _styles(forward: Forward, tree: Any) -> list[str]:
    """The ways in which a tree fits what a function takes, the most telling first."""
    spellings: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    if isinstance(tree, Mapping) and all(isinstance(key, str) for key in tree):
        spellings.append(("named", (), dict(tree)))
    if isinstance(tree, tuple):
        spellings.append(("spread", tuple(tree), {}))
    spellings.append(("whole", (tree,), {}))
    return [style for style, args, kwargs in spellings if _fits(forward, args, kwargs)] or [spellings[0][0]]


def _fits(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        inspect.signature(forward).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


class TreeModel:
    """A target's model factory whose models take a tree: they are called with one tensor.

    Args:
        own: the target's factory.
        inputs: the samples of all splits.
    """

    def __init__(self, own: Callable[[], Any], inputs: Inputs) -> None:
        self.own, self.inputs = own, inputs
        self._style: str | None = None

    def __call__(self) -> Any:
        """A model that is called with rows of `inputs.x`."""
        model = self.own()
        return self.called(model) if isinstance(model, nn.Module) else model

    def called(self, model: nn.Module) -> nn.Module:
        """The model itself, called with rows from now on."""
        if call_of(model) is None:
            spelled = Spelled(model.forward, self.style_for(model))
            model.forward = OneTensorCall(spelled, self.inputs, OwnAnswer())  # type: ignore[method-assign]
        return model

    def style_for(self, model: nn.Module) -> str:
        """The way in which models of this target take the tree: the first that answers, of those that fit."""
        if self._style is None:
            tree = self.tree(self.inputs.x[:MOST_TRIED])
            styles = _styles(model.forward, tree)
            self._style = styles[0]
            if len(styles) > 1:
                self._style = next((style for style in styles if _answers(model, style, tree)), styles[0])
        return self._style

    def tree(self, x: torch.Tensor) -> Any:
        """The samples of rows, as the target's preprocessing leaves them."""
        args, _ = self.inputs.given(x)
        return args[0]

    def answer(self, model: nn.Module, X: torch.Tensor | InputTree) -> torch.Tensor:
        """What a model, called with rows or as its code says, answers to rows or to other samples."""
        tree = self.tree(X) if isinstance(X, torch.Tensor) else X.tree
        with as_it_is(model):
            return outputs_of(Spelled(model, self.style_for(model))(tree))


def _answers(model: nn.Module, style: str, tree: Any) -> bool:
    copied = copy.deepcopy(model).eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs_of(Spelled(copied, style)(tree))
    except BaseException as error:
        pass_on(error)
        return False
    return True


@contextlib.contextmanager
def as_it_is(model: nn.Module) -> Iterator[None]:
    """Inside the block a model is called as its own code says."""
    call = call_of(model)
    if call is None:
        yield
        return
    del model.forward
    try:
        yield
    finally:
        model.forward = call  # type: ignore[method-assign]


def as_declared(model: nn.Module) -> nn.Module:
    """A model as the target's factory builds it; a copy of one that is called with rows."""
    if call_of(model) is None:
        return model
    with as_it_is(model):
        return copy.deepcopy(model)


def trees_of(model: Any) -> TreeModel | None:
    """The factory of a recipe, where its inputs are a tree."""
    return model if isinstance(model, TreeModel) else None


def inputs_in(recipe: Recipe, tensors: Tensors) -> torch.Tensor:
    """The inputs `(N, …)` of a recipe's rows: of a tree all its numbers, side by side."""
    trees = trees_of(recipe.model)
    if trees is None:
        return tensors.x
    return torch.as_tensor(np.asarray(InputTree(trees.tree(tensors.x), len(tensors)), dtype=np.float32))


def as_own(training: Training) -> Training:
    """A training with the user's own functions again, where they were made to take a tree."""
    changed: dict[str, Any] = {
        name: value.own for name in PARTS if isinstance(value := getattr(training, name), _Taking)
    }
    return replace(training, **changed) if changed else training


def with_trees(training: Training, trees: TreeModel) -> Training:
    """A training whose `fit`, loader and augmentation are given trees where firstfault gives rows."""
    changed: dict[str, Any] = {
        name: made(own, trees) for name, made in PARTS.items() if (own := getattr(training, name)) is not None
    }
    return replace(training, **changed) if changed else training


class _Taking:
    """A function of the user's that is given trees."""

    def __init__(self, own: Callable[..., Any], trees: TreeModel) -> None:
        self.own, self.trees = own, trees


class _Augment(_Taking):
    def __call__(self, x: torch.Tensor) -> Any:
        return self.own(self.trees.tree(x))


class _Loader(_Taking):
    def __call__(self, x: torch.Tensor, y: torch.Tensor, split: str) -> Any:
        return self.own(self.trees.tree(x), y, split)


class _Fit(_Taking):
    def __call__(self, model: nn.Module, batches: Iterable[Any], held_out: Iterable[Any]) -> Any:
        with as_it_is(model):
            result = self.own(model, *(_Trees(part, model, self.trees) for part in (batches, held_out)))
        return self.trees.called(result) if isinstance(result, nn.Module) else result


class _Trees:
    """Batches `(tree, y)` of batches of rows; while the next one is made, the model is called with rows again."""

    def __init__(self, batches: Iterable[Any], model: nn.Module, trees: TreeModel) -> None:
        self._batches, self._model, self._trees = batches, model, trees

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._batches)
        while True:
            with self._with_rows():
                batch = next(batches, None)
            if batch is None:
                return
            yield (self._trees.tree(batch[0]), batch[1]) if is_pair(batch) else batch

    @contextlib.contextmanager
    def _with_rows(self) -> Iterator[None]:
        self._trees.called(self._model)
        try:
            yield
        finally:
            with contextlib.suppress(AttributeError):
                del self._model.forward

    def __len__(self) -> int:
        return len(self._batches)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_batches"], name)


PARTS: dict[str, type[_Taking]] = {"augment": _Augment, "loader": _Loader, "fit": _Fit}
"""The settings of a training that are given samples."""
