"""Faults planted into healthy programs, each as a function that changes one part; None where it doesn't apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from localising.programs import PROGRAMS, Program, Rng, loop
from torch import nn

from firstfault import Deployment, Splits

Plant = Callable[[Program, Rng], Program | None]


@dataclass(frozen=True)
class FaultKind:
    """A fault id, its layer, how it is planted, whether it must lower the validation score, and into which programs."""

    id: str
    layer: str
    plant: Plant
    hurts: bool = True
    bases: tuple[Callable[[Rng], Program], ...] = PROGRAMS


FAULTS: list[FaultKind] = []


def fault(layer: str, *, hurts: bool = True) -> Callable[[Plant], Plant]:
    """Register a function named after the fault that it plants."""

    def register(plant: Plant) -> Plant:
        FAULTS.append(FaultKind(plant.__name__.split("__")[0], layer, plant, hurts))
        return plant

    return register


def _xy(program: Program) -> tuple[np.ndarray, np.ndarray]:
    X, y = program.data["train"]
    return np.array(X), np.array(y)


def _with(program: Program, X: Any, y: Any, **more: Any) -> Program:
    return replace(program, data={**program.data, "train": (X, y), **more})


def _classes(program: Program) -> bool:
    return program.task == "classification"


def _table(program: Program) -> bool:
    return program.data["train"][0].ndim == 2 and program.preprocess is not None


def _model(program: Program, change: Callable[[nn.Module], nn.Module]) -> Program:
    build = program.build
    return replace(program, build=lambda: change(build()))


def _linears(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


# ---- data


@fault("data")
def label_noise(program: Program, rng: Rng) -> Program | None:
    """A third of the labels is another class."""
    X, y = _xy(program)
    if not _classes(program) or program.kind in ("transformer encoder", "sequence RNN"):
        return None
    wrong, k = rng.random(len(y)) < rng.uniform(0.25, 0.4), int(y.max()) + 1
    return _with(program, X, np.where(wrong, (y + rng.integers(1, k, len(y))) % k, y))


@fault("data")
def random_labels(program: Program, rng: Rng) -> Program | None:
    """Labels joined to the wrong rows."""
    X, y = _xy(program)
    return _with(program, X, rng.permutation(y)) if _classes(program) else None


@fault("data", hurts=False)
def duplicate_rows(program: Program, rng: Rng) -> Program | None:
    """A third of the rows occurs twice."""
    X, y = _xy(program)
    if program.kind in ("transformer encoder", "causal transformer"):
        return None
    rows = rng.permutation(len(X))[: len(X) // 3]
    return _with(program, np.concatenate([X, X[rows]]), np.concatenate([y, y[rows]]))


@fault("data", hurts=False)
def split_overlap(program: Program, rng: Rng) -> Program | None:
    """A declared test split shares rows with train."""
    X, y = _xy(program)
    if program.kind in ("transformer encoder", "causal transformer"):
        return None
    order = rng.permutation(len(X))
    cut = int(0.8 * len(X))
    test = np.concatenate([order[cut:], order[: len(X) // 12]])
    return _with(program, X[order[:cut]], y[order[:cut]], test=(X[test], y[test]))


@fault("data", hurts=False)
def target_leakage(program: Program, rng: Rng) -> Program | None:
    """A column that is a code of the label."""
    X, y = _xy(program)
    if not (_classes(program) and _table(program)):
        return None
    code = rng.permutation(50)[: int(y.max()) + 1][y] + rng.normal(0, 0.01, len(y))
    X = X.copy()
    X[:, int(rng.integers(X.shape[1]))] = code
    return _with(program, X, y)


@fault("data")
def missing_values(program: Program, rng: Rng) -> Program | None:
    """Some cells are NaN, and nothing imputes them."""
    X, y = _xy(program)
    if X.dtype.kind != "f":
        return None
    X = X.copy()
    X.reshape(len(X), -1)[rng.random((len(X), X[0].size)) < 0.02] = np.nan
    return _with(program, X, y)


@fault("data", hurts=False)
def sentinel_value(program: Program, rng: Rng) -> Program | None:
    """−999 for a missing number in some columns."""
    X, y = _xy(program)
    if not _table(program):
        return None
    X = X.copy()
    for column in rng.permutation(X.shape[1])[:2]:
        X[rng.random(len(X)) < 0.08, column] = -999.0
    return _with(program, X, y)


@fault("data", hurts=False)
def covariate_drift(program: Program, rng: Rng) -> Program | None:
    """Columns moved since the reference."""
    X, y = _xy(program)
    if not _table(program):
        return None
    half = len(X) // 2
    moved = X[:half] + rng.uniform(0.8, 1.5) * X.std(0) * (rng.random(X.shape[1]) < 0.4)
    if np.array_equal(moved, X[:half]):
        return None
    return _with(program, X[half:], y[half:], reference=(moved.astype(X.dtype), y[:half]))


@fault("data")
def degenerate_split(program: Program, rng: Rng) -> Program | None:
    """Test and validation cut from sorted data."""
    X, y = _xy(program)
    if not _classes(program):
        return None
    order = np.argsort(y, kind="stable")
    a, b = int(0.6 * len(y)), int(0.8 * len(y))
    parts = [order[:a], order[a:b], order[b:]]
    return _with(
        program, X[parts[0]], y[parts[0]], validation=(X[parts[1]], y[parts[1]]), test=(X[parts[2]], y[parts[2]])
    )


# ---- preprocessing


@fault("preprocessing")
def missing_normalisation(program: Program, rng: Rng) -> Program | None:
    """No scaling, and columns on wild scales."""
    X, y = _xy(program)
    if not _table(program):
        return None
    scale = 10 ** rng.uniform(1, 4, X.shape[1])
    return replace(_with(program, (X * scale).astype(np.float32), y), preprocess=None)


@fault("preprocessing")
def double_normalisation(program: Program, rng: Rng) -> Program | None:
    """Images scaled twice, once too often by 255."""
    return replace(program, preprocess=lambda images: images / 16 / 255) if program.kind == "image CNN" else None


@fault("preprocessing")
def misaligned_labels(program: Program, rng: Rng) -> Program | None:
    """Inputs of train shuffled without their labels."""

    def prepare(splits: Splits) -> Splits:
        order = np.random.default_rng(3).permutation(len(splits.train.X))
        step = _fitted(program, splits)
        return Splits(
            (step(splits.train.X)[order], splits.train.y),
            (step(splits.validation.X), splits.validation.y),
            (step(splits.test.X), splits.test.y),
        )

    return replace(program, preprocess=None, prepare=prepare) if _classes(program) else None


def _fitted(program: Program, splits: Splits) -> Callable[[Any], Any]:
    if program.preprocess is None:
        return lambda X: X
    if hasattr(program.preprocess, "fit"):
        return program.preprocess.fit(splits.train.X).transform  # type: ignore[no-any-return]
    return program.preprocess  # type: ignore[no-any-return]


@fault("preprocessing")
def inconsistent_transform(program: Program, rng: Rng) -> Program | None:
    """Train is scaled, the rest is not."""

    def prepare(splits: Splits) -> Splits:
        step = _fitted(program, splits)
        return Splits((step(splits.train.X), splits.train.y), splits.validation, splits.test)

    return replace(program, preprocess=None, prepare=prepare) if program.preprocess is not None else None


@fault("preprocessing", hurts=False)
def fit_on_all_data(program: Program, rng: Rng) -> Program | None:
    """The scaler sees the test rows."""

    def prepare(splits: Splits) -> Splits:
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(np.concatenate([split.X for _, split in splits.items()]))
        return Splits(*((scaler.transform(split.X), split.y) for _, split in splits.items()))

    return replace(program, preprocess=None, prepare=prepare) if _table(program) else None


@fault("preprocessing")
def nonfinite_output(program: Program, rng: Rng) -> Program | None:
    """A logarithm of values that reach below zero."""

    def logarithm(X: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.log(X)

    X, _ = _xy(program)
    return replace(program, preprocess=logarithm) if _table(program) and (X < 0).any() else None


@fault("preprocessing")
def target_not_scaled(program: Program, rng: Rng) -> Program | None:
    """A regression target in the thousands."""
    X, y = _xy(program)
    return _with(program, X, (y * 3000 + 20_000).astype(np.float32)) if program.kind == "regression" else None


@fault("preprocessing")
def destructive_augmentation(program: Program, rng: Rng) -> Program | None:
    """Noise that drowns the training inputs."""
    if program.own_loop or program.data["train"][0].dtype.kind != "f":
        return None
    return replace(program, training={**program.training, "augment": lambda x: x + 12 * x.std() * torch.randn_like(x)})


# ---- model


@fault("model")
def redundant_softmax(program: Program, rng: Rng) -> Program | None:
    """Softmax before CrossEntropyLoss."""
    if not isinstance(program.loss, nn.CrossEntropyLoss):
        return None
    return _model(program, lambda model: nn.Sequential(model, nn.Softmax(1)))


@fault("model")
def single_unit_softmax(program: Program, rng: Rng) -> Program | None:
    """Softmax over one unit."""
    if program.kind != "binary table":
        return None
    loss = lambda outputs, y: nn.functional.binary_cross_entropy(outputs.reshape(len(y)), y.float())  # noqa: E731
    return replace(_model(program, lambda model: nn.Sequential(model, nn.Softmax(1))), loss=loss)


@fault("model")
def missing_output_activation(program: Program, rng: Rng) -> Program | None:
    """Raw outputs into NLLLoss."""
    return replace(program, loss=nn.NLLLoss()) if isinstance(program.loss, nn.CrossEntropyLoss) else None


@fault("model")
def wrong_output_activation(program: Program, rng: Rng) -> Program | None:
    """ReLU on an unbounded target."""
    return (
        _model(program, lambda model: nn.Sequential(model, nn.ReLU()))
        if program.kind in ("regression", "autoencoder")
        else None
    )


@fault("model")
def constant_init(program: Program, rng: Rng) -> Program | None:
    """All weights start equal."""
    value = float(rng.choice([0.0, 0.01, 0.1]))

    def change(model: nn.Module) -> nn.Module:
        for parameter in model.parameters():
            nn.init.constant_(parameter, value)
        return model

    return _model(program, change) if "transformer" not in program.kind and program.kind != "sequence RNN" else None


@fault("model")
def exploding_init(program: Program, rng: Rng) -> Program | None:
    """Weights from N(0, σ) with a σ that no width divides."""
    deviation = float(rng.uniform(1.5, 4.0))

    def change(model: nn.Module) -> nn.Module:
        for module in _linears(model):
            nn.init.normal_(module.weight, 0, deviation)
        return model

    return _model(program, change) if "transformer" not in program.kind else None


@fault("model")
def dead_relu(program: Program, rng: Rng) -> Program | None:
    """Hidden biases far below zero."""

    def change(model: nn.Module) -> nn.Module:
        for module in _linears(model)[:-1]:
            nn.init.constant_(module.bias, -20.0)
        return model

    relu = any(isinstance(module, nn.ReLU) for module in program.build().modules())
    return (
        _model(program, change)
        if relu and program.kind in ("multi-class table", "real table", "binary table", "image CNN", "regression")
        else None
    )


@fault("model")
def frozen_parameters(program: Program, rng: Rng) -> Program | None:
    """All but the last layer frozen, from a random start."""

    def change(model: nn.Module) -> nn.Module:
        parameters = list(model.parameters())
        for parameter in parameters[:-2]:
            parameter.requires_grad = False
        return model

    return (
        _model(program, change)
        if program.kind in ("image CNN", "sequence RNN", "transformer encoder", "autoencoder", "regression")
        else None
    )


class _Detached(nn.Module):
    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).detach())


@fault("model")
def detached_graph(program: Program, rng: Rng) -> Program | None:
    """The features are detached from the head."""

    def change(model: nn.Module) -> nn.Module:
        assert isinstance(model, nn.Sequential)
        return _Detached(model[:-1], model[-1])

    return (
        _model(program, change)
        if isinstance(program.build(), nn.Sequential) and program.kind in ("image CNN", "autoencoder", "regression")
        else None
    )


@fault("model")
def saturating_activation(program: Program, rng: Rng) -> Program | None:
    """A deep stack of sigmoids."""
    X, _ = _xy(program)
    if program.kind not in ("multi-class table", "real table"):
        return None
    outputs = list(program.build().parameters())[-1].numel()
    depth = int(rng.integers(6, 10))
    return replace(
        program,
        build=lambda: nn.Sequential(
            nn.Linear(X.shape[1], 32),
            nn.Sigmoid(),
            *(part for _ in range(depth) for part in (nn.Linear(32, 32), nn.Sigmoid())),
            nn.Linear(32, outputs),
        ),
    )


@fault("model")
def excessive_dropout(program: Program, rng: Rng) -> Program | None:
    """Dropout of 0.97 before the last layer."""

    def change(model: nn.Module) -> nn.Module:
        assert isinstance(model, nn.Sequential)
        return nn.Sequential(*list(model)[:-1], nn.Dropout(0.97), model[-1])

    return (
        _model(program, change)
        if isinstance(program.build(), nn.Sequential) and program.kind != "autoencoder"
        else None
    )


@fault("model")
def softmax_wrong_axis(program: Program, rng: Rng) -> Program | None:
    """Log-softmax over the batch."""
    if not isinstance(program.loss, nn.CrossEntropyLoss):
        return None
    return replace(_model(program, lambda model: nn.Sequential(model, nn.LogSoftmax(0))), loss=nn.NLLLoss())


@fault("model", hurts=False)
def missing_causal_mask(program: Program, rng: Rng) -> Program | None:
    """A language model that sees what it must predict."""
    return (
        replace(program, build=partial(program.build, masked=False)) if program.kind == "causal transformer" else None
    )


@fault("model")
def output_shape_mismatch(program: Program, rng: Rng) -> Program | None:
    """Outputs (N, 1) against targets (N,): N × N differences."""
    X, y = _xy(program)
    return _with(program, X, y[:, 0]) if program.kind == "regression" else None


# ---- training


@fault("training")
def learning_rate_too_high(program: Program, rng: Rng) -> Program | None:
    """A rate of 0.5–5 for Adam."""
    return replace(program, rate=float(10 ** rng.uniform(-0.3, 0.7)))


@fault("training")
def learning_rate_too_low(program: Program, rng: Rng) -> Program | None:
    """A rate of 1e-7 to 1e-5."""
    return replace(program, rate=float(10 ** rng.uniform(-7, -5.3)))


@fault("training")
def too_few_epochs(program: Program, rng: Rng) -> Program | None:
    """One epoch, of large batches."""
    return replace(program, epochs=1, batch_size=128)


@fault("training")
def missing_zero_grad(program: Program, rng: Rng) -> Program | None:
    """Gradients pile up."""
    fit = loop(program.loss, torch.optim.SGD, 0.05, program.epochs, zero=False)
    return replace(
        program, training={**program.training, "fit": fit}, own_loop=True, optimizer=torch.optim.SGD, rate=0.05
    )


@fault("training", hurts=False)
def missing_eval_mode(program: Program, rng: Rng) -> Program | None:
    """Validated with dropout on."""
    modal = any(
        isinstance(module, nn.Dropout | nn.BatchNorm1d | nn.BatchNorm2d) and getattr(module, "p", 1)
        for module in program.build().modules()
    )
    fit = loop(program.loss, program.optimizer, program.rate, program.epochs, switch=False)
    return replace(program, training={**program.training, "fit": fit}, own_loop=True) if modal else None


@fault("training")
def parameters_not_in_optimizer(program: Program, rng: Rng) -> Program | None:
    """The optimizer gets the last layer only."""
    names = [name for name, _ in program.build().named_parameters()]
    fit = loop(program.loss, program.optimizer, program.rate, program.epochs, only=lambda name: name in names[-2:])
    kinds = ("image CNN", "sequence RNN", "transformer encoder", "causal transformer", "autoencoder", "regression")
    return replace(program, training={**program.training, "fit": fit}, own_loop=True) if program.kind in kinds else None


@fault("training")
def flipped_loss_sign(program: Program, rng: Rng) -> Program | None:
    """The loss is maximised."""
    loss = program.loss
    return replace(program, loss=lambda outputs, y: -loss(outputs, y))


@fault("training")
def wrong_loss(program: Program, rng: Rng) -> Program | None:
    """Mean squared error on the class id, summed over logits."""
    if not isinstance(program.loss, nn.CrossEntropyLoss):
        return None
    return replace(program, loss=lambda outputs, y: ((outputs - y[:, None].float()) ** 2).mean())


@fault("training")
def no_shuffle(program: Program, rng: Rng) -> Program | None:
    """Train sorted by class, and never shuffled."""
    X, y = _xy(program)
    if not _classes(program) or program.own_loop:
        return None
    order = rng.permutation(len(y))
    held, kept = order[: len(y) // 4], order[len(y) // 4 :]
    kept = kept[np.argsort(y[kept], kind="stable")]
    half = len(held) // 2
    return replace(
        _with(
            program,
            X[kept],
            y[kept],
            validation=(X[held[:half]], y[held[:half]]),
            test=(X[held[half:]], y[held[half:]]),
        ),
        training={**program.training, "shuffle": False},
    )


@fault("training")
def gradient_clipped_away(program: Program, rng: Rng) -> Program | None:
    """Clipped to a norm of 1e-5 under SGD."""
    return replace(
        program, optimizer=torch.optim.SGD, rate=0.05, own_loop=False, training={**program.training, "clip_norm": 1e-5}
    )


@fault("training")
def over_regularised(program: Program, rng: Rng) -> Program | None:
    """A weight penalty that dwarfs the loss."""
    if program.own_loop:
        return None
    return replace(
        program,
        training={
            **program.training,
            "penalty": lambda model: 20 * sum((value**2).sum() for value in model.parameters()),
        },
    )


# ---- deployment


@fault("deployment", hurts=False)
def weights_not_loaded(program: Program, rng: Rng) -> Program | None:
    """The service builds the model, and forgets to load the weights."""

    def load(path: Any) -> nn.Module:
        return program.build().eval()

    return replace(
        program, deployment=Deployment(save=lambda model, path: torch.save(model.state_dict(), path), load=load)
    )


@fault("deployment", hurts=False)
def train_mode_serving(program: Program, rng: Rng) -> Program | None:
    """Loaded, and never put into eval mode."""
    modal = any(
        (isinstance(module, nn.Dropout) and module.p > 0) or isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        for module in program.build().modules()
    )

    def load(path: Any) -> nn.Module:
        model = program.build()
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.train()

    return (
        replace(
            program, deployment=Deployment(save=lambda model, path: torch.save(model.state_dict(), path), load=load)
        )
        if modal
        else None
    )


@fault("deployment", hurts=False)
def train_serve_skew(program: Program, rng: Rng) -> Program | None:
    """The service scales otherwise."""
    return (
        replace(program, deployment=Deployment(preprocess=lambda X: X / 10)) if program.preprocess is not None else None
    )
