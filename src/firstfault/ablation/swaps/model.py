"""Known-good models: the same network with one part replaced, or a reference network of matching shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from firstfault.ablation.swap import Size, swap
from firstfault.errors import Missing
from firstfault.subject.replay import looped
from firstfault.subject.subject import Subject
from firstfault.training.losses import are_distributions
from firstfault.training.recipe import Recipe, default_loss, outputs_of

OF_RAW = (
    nn.CrossEntropyLoss,
    nn.BCEWithLogitsLoss,
    nn.MultiLabelSoftMarginLoss,
    nn.MSELoss,
    nn.L1Loss,
    nn.SmoothL1Loss,
    nn.HuberLoss,
)
"""Losses that take raw outputs."""


def _rebuilt(recipe: Recipe, change: Callable[[nn.Module], nn.Module | None]) -> Recipe:
    """The recipe whose model is the user's, changed after it is built."""
    make = recipe.model

    def build() -> nn.Module:
        model = make()
        return change(model) or model

    return replace(recipe, model=build)


def _replace_modules(
    model: nn.Module, kinds: tuple[type[nn.Module], ...], make: Callable[[nn.Module], nn.Module]
) -> int:
    """Replace every module of the given kinds inside `model`; how many were."""
    found = [
        (parent, name, child)
        for parent in list(model.modules())
        for name, child in parent.named_children()
        if isinstance(child, kinds)
    ]
    for parent, name, child in found:
        setattr(parent, name, make(child))
    return len(found)


class _Then(nn.Module):
    """A model followed by a function of its outputs."""

    def __init__(self, model: nn.Module, after: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.model, self.after = model, after

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.after(outputs_of(self.model(*inputs)))


@swap(
    change="the loss on log-probabilities, so that softmax is applied once", undoes=("redundant_softmax",), slot="loss"
)
def softmax_once(subject: Subject) -> Recipe:
    """Keep the network's softmax, and take the negative log-likelihood of it."""
    recipe, outputs = looped(subject), subject.outputs
    if not are_distributions(outputs):
        raise Missing("the outputs are no probabilities")
    recipe = _rebuilt(recipe, lambda model: _Then(model, lambda outputs: outputs.clamp_min(1e-12).log()))
    return recipe.with_training(loss=nn.NLLLoss())


@swap(
    change="raw outputs into the loss of the task",
    undoes=("missing_output_activation", "wrong_output_activation"),
    slot="loss",
)
def raw_outputs(subject: Subject) -> Recipe:
    """No activation at the end, and the loss that takes raw outputs."""
    recipe = looped(subject)
    last = (nn.Sigmoid, nn.Softmax, nn.LogSoftmax, nn.Tanh, nn.ReLU)
    found = [module for module in subject.model.modules() if not list(module.children())]
    ends = bool(found) and isinstance(found[-1], last)
    one_unit = subject.outputs.ndim == 2 and subject.outputs.shape[1] == 1 and recipe.task == "classification"
    loss = nn.BCEWithLogitsLoss() if one_unit else default_loss(recipe.task)
    if not ends and isinstance(recipe.training.loss, OF_RAW):
        raise Missing("the outputs are raw, and the loss takes them so")

    def strip(model: nn.Module) -> None:
        leaves = [
            (parent, name)
            for parent in model.modules()
            for name, child in parent.named_children()
            if not list(child.children())
        ]
        parent, name = leaves[-1]
        if ends:
            setattr(parent, name, nn.Identity())

    return _rebuilt(recipe, strip).with_training(loss=loss)


@swap(change="sigmoid in place of softmax over one unit", undoes=("single_unit_softmax",), slot="loss")
def sigmoid_for_one_unit(subject: Subject) -> Recipe:
    """The unit's logit into BCEWithLogitsLoss."""
    recipe = looped(subject)
    kinds = (nn.Softmax, nn.LogSoftmax)
    if not any(isinstance(module, kinds) for module in subject.model.modules()):
        raise Missing("the softmax is no module that could be replaced")

    def strip(model: nn.Module) -> None:
        _replace_modules(model, kinds, lambda _: nn.Identity())

    return _rebuilt(recipe, strip).with_training(loss=nn.BCEWithLogitsLoss())


@swap(change="softmax over the classes", undoes=("softmax_wrong_axis",))
def softmax_over_classes(subject: Subject) -> Recipe:
    """Softmax modules over the last axis; into CrossEntropyLoss none at all."""
    recipe = looped(subject)
    logits = isinstance(recipe.training.loss, nn.CrossEntropyLoss)

    def repair(model: nn.Module) -> None:
        _replace_modules(model, (nn.Softmax,), lambda _: nn.Identity() if logits else nn.Softmax(-1))

    if not any(isinstance(module, nn.Softmax) for module in subject.model.modules()):
        raise Missing("the softmax is no module that could be replaced")
    return _rebuilt(recipe, repair)


@swap(
    change="the default initialisation",
    undoes=("constant_init", "exploding_init", "dead_relu", "saturating_activation"),
)
def fresh_initialisation(subject: Subject) -> Recipe:
    """Every module's own reset_parameters after the build."""

    def start_anew(model: nn.Module) -> None:
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None and not isinstance(module, nn.modules.lazy.LazyModuleMixin):
                reset()

    return _rebuilt(subject.recipe, start_anew)


@swap(change="ReLU for sigmoid and tanh", undoes=("saturating_activation", "vanishing_gradient"))
def relu_for_saturating(subject: Subject) -> Recipe:
    """ReLU in place of every saturating module but one at the very end."""
    kinds = (nn.Sigmoid, nn.Tanh, nn.Softsign, nn.Hardsigmoid, nn.Hardtanh)
    leaves = [module for module in subject.model.modules() if not list(module.children())]
    if not any(isinstance(module, kinds) for module in leaves[:-1]):
        raise Missing("no hidden module saturates")

    def repair(model: nn.Module) -> None:
        last = [module for module in model.modules() if not list(module.children())][-1]
        _replace_modules(model, kinds, lambda module: module if module is last else nn.ReLU())

    return _rebuilt(subject.recipe, repair)


@swap(change="leaky ReLU", undoes=("dead_relu",))
def leaky_relu(subject: Subject) -> Recipe:
    """LeakyReLU in place of ReLU."""
    if not any(isinstance(module, nn.ReLU) for module in subject.model.modules()):
        raise Missing("the model has no ReLU module")

    def repair(model: nn.Module) -> None:
        _replace_modules(model, (nn.ReLU,), lambda _: nn.LeakyReLU(0.1))

    return _rebuilt(subject.recipe, repair)


@swap(change="all parameters trainable", undoes=("frozen_parameters",))
def unfrozen(subject: Subject) -> Recipe:
    """requires_grad on every parameter."""
    if all(value.requires_grad for value in subject.model.parameters()):
        raise Missing("every parameter is trainable already")
    return _rebuilt(subject.recipe, lambda model: model.requires_grad_(True))


@swap(change="no dropout", undoes=("excessive_dropout",), size=Size.SETTING)
def no_dropout(subject: Subject) -> Recipe:
    """Dropout rates of 0."""
    kind = nn.modules.dropout._DropoutNd
    if not any(isinstance(module, kind) and module.p > 0 for module in subject.model.modules()):
        raise Missing("the model has no dropout")

    def repair(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, kind):
                module.p = 0.0

    return _rebuilt(subject.recipe, repair)


@swap(change="normal batch statistics", undoes=("norm_statistics_wrong",))
def normal_statistics(subject: Subject) -> Recipe:
    """Momentum 0.1 in every batch normalisation, and batches of 32."""
    kind = nn.modules.batchnorm._BatchNorm
    if not any(isinstance(module, kind) for module in subject.model.modules()):
        raise Missing("the model has no batch normalisation")

    def repair(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, kind):
                module.momentum = 0.1

    recipe = _rebuilt(subject.recipe, repair)
    return recipe.with_training(batch_size=max(32, recipe.training.batch_size))


class _OverTokens(nn.Module):
    """Token ids `(N, T)` embedded and read by a GRU: a row of outputs per token, or per sample."""

    def __init__(self, vocabulary: int, outputs: int, per_token: bool, width: int = 32) -> None:
        super().__init__()
        self.words, self.cells, self.head = (
            nn.Embedding(vocabulary, width),
            nn.GRU(width, width, batch_first=True),
            nn.Linear(width, outputs),
        )
        self.per_token = per_token

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states = self.cells(self.words(ids))[0]
        return self.head(states if self.per_token else states.mean(1))


@swap(
    change="a reference network of matching shape",
    undoes=(
        "detached_graph",
        "batch_mixing",
        "missing_nonlinearity",
        "missing_positional_information",
        "insufficient_capacity",
        "numerically_unstable",
    ),
    size=Size.PART,
)
def reference_network(subject: Subject) -> Recipe:
    """A two-layer perceptron over the flattened inputs, or a GRU over token ids, trained with the same settings."""
    recipe, outputs = subject.recipe, subject.outputs
    x, width = recipe.train.x, outputs.shape[-1]
    if recipe.inputs_for(subject.model, x[:1]).dtype == torch.int64 and x.ndim == 2 and outputs.ndim in (2, 3):
        vocabulary = 1 + max(int(part.x.max()) for part in (recipe.train, recipe.validation, recipe.test) if len(part))
        return replace(recipe, model=lambda: _OverTokens(vocabulary, width, outputs.ndim == 3))
    if not x.is_floating_point() or outputs.ndim not in (1, 2):
        raise Missing("there is a reference for one row of outputs per sample, and for tokens, only")
    inputs, units = x[0].numel(), 1 if outputs.ndim == 1 else width
    flat = [nn.Flatten(0)] if outputs.ndim == 1 else []
    return replace(
        recipe, model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, units), *flat)
    )
