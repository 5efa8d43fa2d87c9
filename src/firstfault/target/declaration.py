"""What is debugged: data, preprocessing, model, training, deployment and safety, as the user declares them.

Target ── Data         where the samples come from, and what their columns mean
       ├─ preprocess   or `prepare`: how raw samples become model inputs
       ├─ model        a function that builds the network, or an estimator
       ├─ lm           or a language model (`target.language_model`)
       ├─ Training     loss, optimizer, loop
       ├─ Deployment   how the trained model is saved, loaded and served
       └─ Safety       suites and the function that generates text
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from firstfault.target.estimators import estimator_of
from firstfault.target.language_model import LM
from firstfault.target.validation import (
    checked_actions,
    expect,
    expect_callable,
    expect_column,
    expect_factory,
    expect_loss,
    expect_metric,
    expect_mutes,
    expect_preprocess,
    expect_seed,
    expect_several,
    expect_thresholds,
    expect_whole,
)
from firstfault.texts import encodable

Task = Literal["classification", "regression", "multilabel", "language_model"]


@dataclass(frozen=True)
class Data:
    """Where the samples come from.

    Each of `train`, `validation`, `test` and `reference` is a path (csv, parquet, jsonl, also .gz, or a folder of
    them or of images), a DataFrame, a pair `(X, y)` of arrays or tensors, a callable that returns one of these, or
    `Sql`. Splits left out are split from train, stratified, by the training seed. `reference` is an earlier healthy
    version, against which drift is measured. `label` names the label column (or columns, for multilabel) of a frame;
    `expectations` a Great Expectations suite (JSON), inferred from the reference or from train when left out. With
    `quarantine`, rows that break a critical expectation are set aside, and the clean rest goes on.
    """

    train: Any
    validation: Any = None
    test: Any = None
    reference: Any = None
    label: str | Sequence[str] | None = None
    sensitive: Sequence[str] = ()
    group: str | None = None
    time: str | None = None
    expectations: str | Path | None = None
    quarantine: bool = False

    def __post_init__(self) -> None:
        expect(self.train is not None, "data.train", self.train, "a path, a DataFrame, (X, y), a callable or Sql")
        expect_several("data.sensitive", self.sensitive, "a list of column names")
        expect_column("data.group", self.group)
        expect_column("data.time", self.time)
        expect(
            self.expectations is None or isinstance(self.expectations, str | Path),
            "data.expectations",
            self.expectations,
            "a path or None",
        )
        expect(isinstance(self.quarantine, bool), "data.quarantine", self.quarantine, "True or False")
        known = self.expectations is not None or self.reference is not None
        expect(
            known or not self.quarantine,
            "data.quarantine",
            self.quarantine,
            "False where there are neither data.expectations nor data.reference",
        )

    @property
    def declared_splits(self) -> tuple[str, ...]:
        """Which of validation and test the user made; firstfault draws the others from train."""
        return tuple(name for name in ("validation", "test") if getattr(self, name) is not None)


@dataclass(frozen=True)
class Training:
    """How the model is trained, by firstfault's loop or by the user's own `fit`.

    `loss` is called as `loss(outputs, y)`; `optimizer` as `optimizer(model.parameters())`;
    `scheduler` as `scheduler(optimizer)` and stepped once an epoch; `augment(x)` on every training
    batch; `penalty(model)` is added to the loss. `metric` is a name (accuracy, balanced_accuracy,
    f1, auc, r2, mae, mse) or a callable `metric(outputs, y)`, higher is better; left out, it fits the
    task. `fit(model, train_loader, validation_loader)` is observed, not replaced. `loader(x, y, split)` makes
    the batches `(x, y)` of prepared tensors, as a DataLoader that can be iterated again; `split` is "train" or
    "validation". Left out, firstfault batches and shuffles. It is called with other rows too, to examine it.
    `on_finding` is what to do while it trains: names of actions (log, alert, checkpoint, stop), or actions
    (`firstfault.actions`).
    """

    loss: Callable[..., Any] | None = None
    optimizer: Callable[..., Any] | None = None
    scheduler: Callable[..., Any] | None = None
    epochs: int = 10
    batch_size: int = 64
    shuffle: bool = True
    clip_norm: float | None = None
    augment: Callable[..., Any] | None = None
    penalty: Callable[..., Any] | None = None
    metric: str | Callable[..., Any] | None = None
    seed: int = 0
    device: str = "auto"
    fit: Callable[..., Any] | None = None
    loader: Callable[..., Any] | None = None
    on_finding: str | Sequence[Any] = ()

    def __post_init__(self) -> None:
        if self.on_finding:
            checked_actions(self.on_finding, "training.on_finding")
        expect_whole("training.epochs", self.epochs)
        expect_whole("training.batch_size", self.batch_size)
        expect_loss(self.loss)
        for name in ("optimizer", "scheduler", "augment", "penalty", "fit", "loader"):
            expect_callable(f"training.{name}", getattr(self, name))
        clip = self.clip_norm
        expect(
            clip is None or (isinstance(clip, int | float) and clip >= 0),
            "training.clip_norm",
            clip,
            "a number of at least 0",
        )
        expect_metric(self.metric)
        expect_seed("training.seed", self.seed)
        expect(isinstance(self.shuffle, bool), "training.shuffle", self.shuffle, "True or False")

    @property
    def keeps_order(self) -> bool:
        """Whether the training sees its rows in the order of the data, or in one that the user's loader makes of it."""
        return not self.shuffle or self.loader is not None


@dataclass(frozen=True)
class Deployment:
    """How the trained model reaches its users.

    `model` is an MLflow URI, a saved file or a callable `predict(inputs) -> outputs`; left out, it
    is the model trained here. `save(model, path)` and `load(path)` are the user's own, MLflow's
    when left out. `preprocess` is the serving path's own preprocessing, when it is separate code.
    `golden` are samples `(X, y)` with known answers; `latency_ms` is the budget for p95.
    """

    model: Any = None
    save: Callable[..., Any] | None = None
    load: Callable[..., Any] | None = None
    preprocess: Any = None
    url: str | None = None
    request: Any = None
    latency_ms: float = 100.0
    requirements: Any = None
    golden: Any = None

    def __post_init__(self) -> None:
        expect_preprocess("deployment.preprocess", self.preprocess)
        expect(
            self.url is None or str(self.url).startswith(("http://", "https://")),
            "deployment.url",
            self.url,
            "a URL of http or https, or None",
        )
        pair = isinstance(self.golden, tuple | list) and len(self.golden) == 2
        expect(self.golden is None or pair, "deployment.golden", self.golden, "a pair (X, y) or None")
        expect_callable("deployment.save", self.save)
        expect_callable("deployment.load", self.load)
        expect(
            isinstance(self.latency_ms, int | float) and self.latency_ms > 0,
            "deployment.latency_ms",
            self.latency_ms,
            "a number of milliseconds above 0",
        )


@dataclass(frozen=True)
class Safety:
    """Behaviour suites (YAML files), and `generate(prompt) -> text`, or `generate(prompt, model)`, for language models.

    With `every`, safety is evaluated in every so many epochs of the training too, on the rows of validation, and a
    critical violation ends it (`firstfault.watcher.safety_monitor`); `capability(model) -> number` is what the model
    can do, higher is better: the metric on validation when left out.
    """

    suites: Sequence[Any] = ()
    generate: Callable[..., str] | None = None
    every: int | None = None
    capability: Callable[..., float] | None = None

    def __post_init__(self) -> None:
        if self.every is not None:
            expect_whole("safety.every", self.every)
        expect_callable("safety.capability", self.capability)
        expect_several("safety.suites", self.suites, "a list of YAML files")
        expect_callable("safety.generate", self.generate)


@dataclass(frozen=True)
class Target:
    """The system under debugging. What is left out is skipped, with the reason.

    `model` is a function () -> nn.Module; or an estimator with fit and predict (of scikit-learn, XGBoost, LightGBM), or
    a function that returns one: then `training` may be left out. The transforming steps of a pipeline before the last
    are examined as preprocessing, after those of `preprocess`; behind `prepare`, a pipeline stays whole. `lm` is a
    language model that answers prompts, in place of `model`, with the task "language_model".

    `preprocess` is an object with fit and transform, a list of (name, step), or a function X -> X; `prepare` is a
    function Splits -> Splits, for code that owns the splits itself. What they leave is an array of samples, or a dict,
    encoding, tuple or dataclass of several, which the model, `training.fit` and `training.loader` get as it is.
    `thresholds` overrides a check's defaults:
    `{"dead_relu": {"inactive_share": 0.8}}`. `mute` names checks that are not to be judged, or what they find at one
    place, with the reason: `{"missing_values:age": "optional in the form"}`. `root` is the folder to which relative
    paths refer; `load_target` sets it to the folder of the target's file.

    Raises:
        TargetError: naming the field, the value, and what was expected.
    """

    name: str
    task: Task = "classification"
    data: Data | None = None
    preprocess: Any = None
    prepare: Callable[..., Any] | None = None
    model: Any = None
    lm: LM | None = None
    training: Training | None = None
    deployment: Deployment | None = None
    safety: Safety | None = None
    thresholds: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    mute: Mapping[str, str] = field(default_factory=dict)
    root: Path = field(default_factory=Path.cwd)
    file: Path | None = None

    def __post_init__(self) -> None:
        expect(isinstance(self.name, str) and bool(self.name.strip()), "name", self.name, "a non-empty string")
        expect(encodable(self.name) == self.name, "name", self.name, "text that UTF-8 can write")
        expect(self.task in get_args(Task), "task", self.task, f"one of {', '.join(get_args(Task))}")
        for name, kind in PARTS.items():
            value = getattr(self, name)
            expect(value is None or isinstance(value, kind), name, value, f"{kind.__name__}(…) or None")
        expect_factory(self.model)
        _expect_language_model(self)
        expect_callable("prepare", self.prepare, "a function Splits -> Splits")
        expect_preprocess("preprocess", self.preprocess)
        expect_thresholds(self.thresholds)
        expect_mutes(self.mute)
        expect(
            self.prepare is None or self.preprocess is None,
            "prepare",
            self.prepare,
            "either `preprocess` or `prepare`, not both",
        )

    @functools.cached_property
    def estimator(self) -> Any:
        """The estimator that `model` is, or builds; None where it is a network, or can't be built."""
        return estimator_of(self.model)

    @property
    def by_gradients(self) -> bool:
        """Whether the model is trained by gradient steps."""
        return self.estimator is None


PARTS = {"lm": LM, "data": Data, "training": Training, "deployment": Deployment, "safety": Safety}
"""The parts of a target that are declared by a class of ours."""


def _expect_language_model(target: Target) -> None:
    """A language model that stands alone: its rows, its tuning and its service are parts of itself."""
    if target.lm is None:
        return
    expect(target.task == "language_model", "task", target.task, "language_model where lm is given")
    for name in ("data", "preprocess", "prepare", "model", "training", "deployment"):
        expect(getattr(target, name) is None, name, getattr(target, name), "None where lm is given")
