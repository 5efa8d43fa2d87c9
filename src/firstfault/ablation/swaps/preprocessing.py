"""Known-good preparation: standardised inputs, raw labels, one path for every split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from firstfault.ablation.swap import Size, swap
from firstfault.data.splits import Split, Splits, to_array
from firstfault.errors import Missing
from firstfault.subject.subject import Subject
from firstfault.training.batches import first_batch
from firstfault.training.estimators import scaled_columns
from firstfault.training.input_tree import InputTree
from firstfault.training.one_tensor import OneTensorCall, Rows, call_of, inputs_of_call
from firstfault.training.prepared_recipe import make_recipe
from firstfault.training.preprocessing import Labels, to_inputs
from firstfault.training.recipe import Recipe, Tensors
from firstfault.training.tree_calls import inputs_in, trees_of

STANDARDISED = ("missing_normalisation", "double_normalisation")
LOADED = (
    "augmented_validation",
    "worker_seed_duplicated",
    "misaligned_labels",
    "row_loss",
    "inconsistent_transform",
    "batch_dependent_transform",
    "wrong_dtype",
    "scrambled_axes",
)
REPREPARED = ("misaligned_labels", "inconsistent_transform", "batch_dependent_transform", "nondeterministic_transform")


@swap(change="standardise the inputs", undoes=STANDARDISED, slot="inputs")
def standardised_inputs(subject: Subject) -> Recipe:
    """Inputs with mean 0 and deviation 1 per column (per channel for images), fitted on train."""
    recipe, inputs = subject.recipe, inputs_of_call(subject.model)
    if isinstance(inputs, Rows) and any(row.is_floating_point() for row in inputs.tensors):
        return _with_standardised_rows(recipe, inputs)
    if recipe.inputs_for(subject.model, recipe.train.x[:1]).dtype == torch.int64:
        raise Missing("token ids have no scale")
    scale = standardiser(recipe.train.x, scaled_columns(subject.model, recipe.train.x))
    return _each(recipe, lambda part: Tensors(scale(part.x), part.y))


def _with_standardised_rows(recipe: Recipe, inputs: Rows) -> Recipe:
    """The recipe of a model whose samples are looked up, in tensors that are standardised."""
    scaled = inputs.changed(lambda row: standardiser(row)(row) if row.is_floating_point() else row)
    make = recipe.model

    def build() -> nn.Module:
        model = make()
        call = call_of(model)
        if call is not None:
            model.forward = OneTensorCall(call.forward, scaled, call.answer)  # type: ignore[method-assign]
        return model

    return replace(recipe, model=build)


def standardiser(x: torch.Tensor, scaled: torch.Tensor | None = None) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function that standardises inputs by the statistics of `x`: per column, per channel of `(N, C, H, W)`.

    Of a table, only the columns `(D,)` that are `scaled`.
    """
    values = torch.where(torch.isfinite(x), x, torch.full_like(x, float("nan"))) if x.is_floating_point() else x
    values = values.double()
    channel = 1 if x.ndim == 4 else x.ndim - 1
    axes = [axis for axis in range(x.ndim) if axis != channel] if x.ndim > 1 else [0]
    mean = values.nanmean(axes, keepdim=True)
    deviation = (values - mean).pow(2).nanmean(axes, keepdim=True).sqrt()
    deviation = torch.where(deviation > 1e-12, deviation, torch.ones_like(deviation))
    if scaled is not None and x.ndim == 2:
        mean, deviation = mean.where(scaled, 0.0), deviation.where(scaled, 1.0)
    return lambda part: ((part.double() - mean) / deviation).float()


def _each(recipe: Recipe, change: Callable[[Tensors], Tensors]) -> Recipe:
    return replace(recipe, train=change(recipe.train), validation=change(recipe.validation), test=change(recipe.test))


@swap(change="standardise the target", undoes=("target_not_scaled",))
def standardised_target(subject: Subject) -> Recipe:
    """Regression labels with mean 0 and deviation 1, fitted on train; judged by R², which has no scale."""
    recipe = subject.recipe
    if recipe.task != "regression":
        raise Missing("the task is no regression")
    mean, deviation = recipe.train.y.float().mean(0, keepdim=True), recipe.train.y.float().std(0, keepdim=True)
    swapped = _each(recipe, lambda part: Tensors(part.x, (part.y - mean) / deviation.clamp_min(1e-12)))
    return swapped.with_training(metric="r2")


@swap(change="no augmentation", undoes=("destructive_augmentation",), size=Size.SETTING)
def no_augmentation(subject: Subject) -> Recipe:
    """Training batches as they are."""
    if subject.recipe.training.augment is None:
        raise Missing("nothing is augmented")
    return subject.recipe.with_training(augment=None)


@swap(change="firstfault's own loader", undoes=(*LOADED, "destructive_augmentation", "no_shuffle"), size=Size.PART)
def own_loader(subject: Subject) -> Recipe:
    """The prepared tensors batched and shuffled by firstfault, in batches as large as the user's."""
    recipe = subject.recipe
    if recipe.training.loader is None:
        raise Missing("the target declares no loader")
    first = first_batch(recipe, recipe.train)
    size = len(first) if first is not None else recipe.training.batch_size
    return recipe.with_training(loader=None, shuffle=True, batch_size=size)


@swap(change="the raw labels", undoes=("label_scaled", "label_encoding_order"), slot="inputs")
def raw_labels(subject: Subject) -> Recipe:
    """The prepared inputs with the labels of the raw data, where the preparation kept the order of rows."""
    from firstfault.checks.preprocessing.labels import _by_row

    if subject.target.prepare is None:
        raise Missing("the labels come so from the data")
    recipe, raw = subject.recipe, dict(subject.raw.items())
    labels = Labels.of(recipe.task, raw["train"].y)
    tensors = []
    for name, prepared in subject.prepared.items():
        first, second = to_array(raw[name].y).reshape(-1), to_array(prepared.y).reshape(-1)
        if len(first) != len(second) or _by_row(first, second) is None:
            raise Missing(f"the raw labels cannot be matched with the prepared rows of {name}")
        tensors.append(
            Tensors(
                dict(zip(("train", "validation", "test"), _tensors(recipe), strict=True))[name].x,
                labels.encode(raw[name].y),
            )
        )
    train, validation, test = tensors
    return _no_more_classes(
        recipe, replace(recipe, train=train, validation=validation, test=test, classes=len(labels.classes))
    )


def _no_more_classes(recipe: Recipe, changed: Recipe) -> Recipe:
    """The changed recipe, where it has no more classes than the recipe.

    Raises:
        Missing: where it has more, since the scores of both can't be compared.
    """
    if 1 < recipe.classes < changed.classes:
        raise Missing(f"the raw labels have {changed.classes} classes and not {recipe.classes}: scores don't compare")
    return changed


def _tensors(recipe: Recipe) -> tuple[Tensors, Tensors, Tensors]:
    return recipe.train, recipe.validation, recipe.test


@swap(change="train prepared on the path of validation", undoes=("misaligned_labels",), slot="inputs")
def train_on_validation_path(subject: Subject) -> Recipe:
    """The training rows sent through what the preparation does to validation rows."""
    from firstfault.subject.rerun import rerun

    raw = subject.raw
    again = rerun(subject, Splits(raw.train, raw.train, raw.test)) if subject.target.prepare else None
    if again is None or len(again.prepared.validation.X) != len(raw.train.y):
        raise Missing("the preparation has no path of its own for validation")
    made = _recipe_of(subject, Splits(again.prepared.validation, subject.prepared.validation, subject.prepared.test))
    first, second = (inputs_in(recipe, recipe.train) for recipe in (made, subject.recipe))
    if first.shape == second.shape and torch.equal(first, second):
        raise Missing("both paths give the same inputs")
    return made


@swap(
    change="every split prepared together with train",
    undoes=(*REPREPARED, "label_encoding_order"),
    size=Size.PART,
    slot="inputs",
)
def one_path(subject: Subject) -> Recipe:
    """Train, validation and test sent down the path of train in one piece, and parted again by position."""
    from firstfault.subject.rerun import joined, rerun

    raw = subject.raw
    whole = joined(raw.train, raw.validation, raw.test)
    again = rerun(subject, Splits(whole, raw.validation, raw.test))
    if again is None or len(again.prepared.train.X) != len(whole.y):
        raise Missing("the preparation of train does not keep the rows")
    bounds = np.cumsum([0, *(len(split.y) for _, split in raw.items())])
    prepared = again.prepared.train
    rows = prepared.X if isinstance(prepared.X, InputTree) else to_inputs(prepared.X)
    parts = [Split(rows[a:b], to_array(prepared.y)[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
    made, recipe = _recipe_of(subject, Splits(*parts)), subject.recipe
    first, second = (inputs_in(each, each.validation) for each in (made, recipe))
    same = first.shape == second.shape and torch.allclose(first, second, atol=1e-3)
    if same and torch.equal(made.validation.y, recipe.validation.y):
        raise Missing("validation comes out of both paths alike")
    return made


@swap(
    change="known-good preparation of the raw data",
    undoes=(*REPREPARED, "label_scaled", "label_encoding_order", "information_loss", "wrong_dtype", "scrambled_axes"),
    size=Size.PART,
    slot="inputs",
)
def known_good_preparation(subject: Subject) -> Recipe:
    """The raw splits, standardised by train and with columns of text one-hot, where the model's width fits them."""
    recipe, inputs = subject.recipe, _raw_inputs(subject)
    if recipe.inputs_for(subject.model, recipe.train.x[:1]).dtype != torch.int64:
        scale = standardiser(inputs["train"])
        inputs = {name: torch.nan_to_num(scale(x)) for name, x in inputs.items()}
    return _no_more_classes(recipe, _from_raw(subject, inputs))


@swap(
    change="the raw inputs",
    undoes=("double_normalisation", "information_loss", "scrambled_axes"),
    size=Size.PART,
    slot="inputs",
)
def raw_inputs(subject: Subject) -> Recipe:
    """The raw splits as they are, where the model's width fits them."""
    return _from_raw(subject, _raw_inputs(subject))


def _raw_inputs(subject: Subject) -> dict[str, torch.Tensor]:
    """The raw inputs in the shape of the prepared ones, unless they are the prepared ones."""
    if trees_of(subject.recipe.model) is not None:
        raise Missing("the model takes several inputs, of which the raw data do not tell which is which")
    prepared = dict(zip(("train", "validation", "test"), _tensors(subject.recipe), strict=True))
    wanted = tuple(prepared["train"].x.shape[1:])
    inputs = {name: _shaped(values, wanted) for name, values in _plain_inputs(subject.raw).items()}
    if all(
        inputs[name].shape == part.x.shape and torch.equal(inputs[name].to(part.x.dtype), part.x)
        for name, part in prepared.items()
    ):
        raise Missing("the inputs are the raw ones already")
    return inputs


def _from_raw(subject: Subject, inputs: dict[str, torch.Tensor]) -> Recipe:
    return _recipe_of(subject, Splits(*(Split(inputs[name], split.y) for name, split in subject.raw.items())))


def _recipe_of(subject: Subject, prepared: Splits) -> Recipe:
    recipe = subject.recipe
    return make_recipe(recipe.task, prepared, recipe.model, recipe.training, recipe.root)[0]


def _plain_inputs(raw: Splits) -> dict[str, torch.Tensor]:
    """Raw inputs as tensors: numbers as they are, text one-hot by the categories of train."""
    import pandas as pd

    if not isinstance(raw.train.X, pd.DataFrame):
        try:
            return {name: to_inputs(split.X) for name, split in raw.items()}
        except Exception as error:
            raise Missing(f"the raw inputs are no numbers: {error}") from error
    columns = pd.get_dummies(raw.train.X).columns
    return {
        name: to_inputs(pd.get_dummies(split.X).reindex(columns=columns, fill_value=0)) for name, split in raw.items()
    }


def _shaped(x: torch.Tensor, wanted: tuple[int, ...]) -> torch.Tensor:
    """Raw inputs in the shape of the prepared ones: as they are, with channels first, or with an axis of one."""
    if tuple(x.shape[1:]) == wanted:
        return x
    if x.ndim == 4 and tuple(x.permute(0, 3, 1, 2).shape[1:]) == wanted:
        return x.permute(0, 3, 1, 2).contiguous()
    if (
        tuple(size for size in x.shape[1:] if size > 1) == tuple(size for size in wanted if size > 1)
        or len(wanted) == 1
    ):
        flat = x.reshape(len(x), -1)
        if flat.shape[1] == int(np.prod(wanted)):
            return flat.reshape(len(x), *wanted)
    raise Missing("the preparation changes the shape of a sample")
