"""Faults of the serving code: preprocessing, model and deployment. Each is really served with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from monitoring.served.bases import Base, fresh_weights
from monitoring.served.plan import CLASSIFIERS, TABLES, Change, Kind, kind
from monitoring.served.populations import Rng
from monitoring.served.server import healthy

MODELS = ("model", "deployment")


def served(base: Base, rng: Rng, *, some: bool = False, **parts: Any) -> Change:
    """A server with other parts, on all replicas, or now and then on some."""
    few = some and rng.random() < 0.5
    return Change(server=replace(healthy(base), **parts), replicas=(0,) if few else ())


def fitted(base: Base) -> Any:
    """A copy of the fitted step, to be spoilt."""
    return copy.deepcopy(base.subject.pipeline.steps[0][1].__self__)  # type: ignore[attr-defined]


def _prepare(step: Callable[[Any], Any]) -> Callable[[Any], torch.Tensor]:
    def prepare(X: Any) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(step(X)), dtype=torch.float32)

    return prepare


def _scaler(step: Any) -> StandardScaler:
    return step.named_transformers_["standardscaler"]  # type: ignore[no-any-return]


def missing_normalisation(base: Base, rng: Rng) -> Change:
    """The scaling of the numbers is left out at serving."""
    if base.kind == "images":
        return served(base, rng, prepare=_prepare(lambda X: np.asarray(X)[:, None]))
    step = fitted(base)
    scaler = _scaler(step)
    scaler.mean_, scaler.scale_ = np.zeros_like(scaler.mean_), np.ones_like(scaler.scale_)
    return served(base, rng, some=True, prepare=_prepare(step.transform))


def train_serve_skew(base: Base, rng: Rng) -> Change:
    """The serving path prepares in another way than training did."""
    if base.kind == "images":
        own = base.prepare
        how: list[Callable[[Any], Any]] = [
            lambda X: X.transpose(0, 2, 1),
            lambda X: X[:, :, ::-1].copy(),
            lambda X: 16 - X,
            lambda X: np.pad(X[:, 1:-1, 1:-1], ((0, 0), (0, 2), (0, 2))),
        ]
        change = how[int(rng.integers(len(how)))]
        return served(base, rng, prepare=lambda X: own(change(X)))
    if base.kind == "texts":
        words = int(rng.integers(2, 5))
        return served(base, rng, prepare=lambda X: base.prepare(_shortened(X, words)))
    step = fitted(base)
    _refit(_scaler(step), base, rng)
    return served(base, rng, some=True, prepare=_prepare(step.transform))


def _refit(scaler: StandardScaler, base: Base, rng: Rng) -> None:
    """The scaler as fitted on other data: the rows at one end of a column."""
    numbers = base.train[base.numbers()]
    name = str(rng.choice(base.numbers()))
    at_one_end = numbers.sort_values(name, ascending=bool(rng.random() < 0.5)).head(int(rng.integers(40, 300)))
    own = StandardScaler().fit(at_one_end.to_numpy())
    scaler.mean_, scaler.scale_ = own.mean_, own.scale_


def _shortened(X: pd.DataFrame, words: int) -> pd.DataFrame:
    return X.assign(text=[" ".join(str(text).split()[:words]) for text in X["text"]])


def tokenizer_mismatch(base: Base, rng: Rng) -> Change:
    """The vocabulary is that of another fit."""
    step = fitted(base)
    step.fit(base.train.sample(int(rng.integers(60, 400)), random_state=int(rng.integers(1 << 30))))
    return served(base, rng, prepare=lambda X: torch.as_tensor(step.transform(X)))


def weights_not_loaded(base: Base, rng: Rng) -> Change:
    """Some parameters keep the values that the network was built with."""
    return served(base, rng, some=True, model=fresh_weights(base, int(rng.integers(1 << 30)), rng.uniform(0.2, 1), rng))


def precision_loss(base: Base, rng: Rng) -> Change:
    """Weights in so few bits that the answers change."""
    model, bits = copy.deepcopy(base.model), int(rng.integers(2, 4))
    with torch.no_grad():
        for value in model.parameters():
            step = value.abs().max().clamp(min=1e-12) / (2 ** (bits - 1) - 1)
            value.copy_((value / step).round() * step)
    return served(base, rng, some=True, model=model)


def train_mode_serving(base: Base, rng: Rng) -> Change:
    """Nobody called eval(): dropout drops."""
    return served(base, rng, some=True, model=copy.deepcopy(base.model).train())


def wrong_version_routed(base: Base, rng: Rng) -> Change:
    """A replica answers with an older version."""
    few = rng.random() < 0.6
    server = replace(healthy(base), model=taught(base, rng, rows=250, epochs=4), version=str(rng.choice(["5", "6"])))
    return Change(server=server, replicas=(0,) if few else ())


def taught(base: Base, rng: Rng, *, rows: int, epochs: int, begin: nn.Module | None = None) -> nn.Module:
    """A model of the same kind that saw fewer rows, or goes on from another one."""
    recipe = base.subject.recipe
    model = recipe.build(int(rng.integers(1 << 30))) if begin is None else copy.deepcopy(begin)
    chosen = torch.as_tensor(rng.choice(len(recipe.train.x), min(rows, len(recipe.train.x)), replace=False))
    updates = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss = base.subject.training.loss
    assert loss is not None
    model.train()
    for _ in range(epochs):
        for part in torch.split(chosen, 64):
            updates.zero_grad()
            outputs = model(recipe.train.x[part])
            y = recipe.train.y[part]
            loss(outputs, y.reshape(outputs.shape) if base.regression else y).backward()
            updates.step()
    return model.eval()


def batch_dependence(base: Base, rng: Rng) -> Change:
    """An answer depends on who is asked for beside it: each batch is scaled by itself."""
    size = int(rng.choice([4, 8]))
    return served(base, rng, prepare=lambda X: _by_itself(base.prepare(X)), batch=size)


def _by_itself(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean(0)) / (x.std(0, correction=0) + 0.05) if len(x) > 1 else x


def cache_corruption(base: Base, rng: Rng) -> Change:
    """Answers are kept under a part of the request alone."""
    if base.kind == "images":
        return served(base, rng, key=lambda raw: sum(map(sum, raw)) // 8)
    if base.kind == "texts":
        letters = int(rng.integers(8, 14))
        return served(base, rng, key=lambda raw: raw["text"][:letters])
    names = list(rng.choice(base.texts() or base.numbers(), 2, replace=False))
    return served(base, rng, key=lambda raw: tuple(_rounded(raw.get(name)) for name in names))


def _rounded(value: Any) -> Any:
    return f"{value:.1g}" if isinstance(value, float) else value


def label_map_mismatch(base: Base, rng: Rng) -> Change:
    """The names of the classes come in another order."""
    order = list(base.classes)
    if len(order) == 2 or rng.random() < 0.5:
        first, second = rng.choice(len(order), 2, replace=False)
        order[first], order[second] = order[second], order[first]
    else:
        order = order[1:] + order[:1]
    return served(base, rng, some=True, classes=tuple(order))


def schema_mismatch(base: Base, rng: Rng) -> Change:
    """The server puts the columns in another order than the model was trained with."""
    server = healthy(base)
    numbers = base.numbers()
    order = sorted(numbers, key=lambda name: name[::-1]) if rng.random() < 0.5 else numbers[1:] + numbers[:1]

    def parse(raw: list[Any]) -> pd.DataFrame:
        frame: pd.DataFrame = server.parse(raw)
        return frame.assign(**{name: frame[other].to_numpy() for name, other in zip(numbers, order, strict=True)})

    return served(base, rng, parse=parse)


def unvalidated_input(base: Base, rng: Rng) -> Change:
    """A version that looks at nothing before it asks the model, and requests that are none."""
    broken: list[Any] = [[[1, 2], [3]], None, [[0] * 8] * 7 + [[0]]]
    server = replace(healthy(base), check=lambda raw: None, version="8")
    if base.kind == "table":
        broken = [{name: {"value": 1} for name in base.numbers()}, {name: [1, 2] for name in base.columns}]
        server = replace(server, parse=lambda raw: _strictly(base, raw))
    return Change(
        server=server,
        raw=lambda raw, rng: [broken[int(rng.integers(len(broken)))] for _ in raw],
        part=float(rng.uniform(0.06, 0.2)),
    )


def _strictly(base: Base, raw: list[Any]) -> pd.DataFrame:
    frame = pd.DataFrame(raw)
    return frame.assign(**{name: [float(value) for value in frame[name]] for name in base.numbers()})


SERVING: tuple[Kind, ...] = (
    kind(
        "missing_normalisation",
        "preprocessing",
        missing_normalisation,
        (*TABLES, "digits"),
        faults=("train_serve_skew",),
        layers=("preprocessing", "deployment"),
    ),
    kind("train_serve_skew", "preprocessing", train_serve_skew, layers=("preprocessing", "deployment")),
    kind(
        "tokenizer_mismatch",
        "preprocessing",
        tokenizer_mismatch,
        ("tickets",),
        faults=("train_serve_skew",),
        layers=("preprocessing", "deployment"),
    ),
    kind("weights_not_loaded", "model", weights_not_loaded, layers=MODELS),
    kind("precision_loss", "model", precision_loss, layers=MODELS),
    kind("train_mode_serving", "model", train_mode_serving, layers=MODELS, hurts=0.03),
    kind("wrong_version_routed", "deployment", wrong_version_routed, layers=MODELS, hurts=0.04),
    kind("batch_dependence", "deployment", batch_dependence, (*TABLES, "digits")),
    kind("cache_corruption", "deployment", cache_corruption),
    kind("label_map_mismatch", "deployment", label_map_mismatch, CLASSIFIERS),
    kind("schema_mismatch", "deployment", schema_mismatch, TABLES),
    kind("unvalidated_input", "deployment", unvalidated_input, (*TABLES, "digits"), shown="errors", hurts=0.0),
)
