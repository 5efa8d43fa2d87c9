"""The target under examination: each of its parts is made when a check first needs it, and kept."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from firstfault.check import NO_STEPS, Depth
from firstfault.data.expectations.expected import Expected, expected_of, rows_to_set_aside, without
from firstfault.data.privacy.known import Known
from firstfault.data.privacy.masking import masked_text
from firstfault.data.splits import Split, Splits, load_raw, read_reference
from firstfault.errors import Missing
from firstfault.finding import Layer
from firstfault.subject.kept_model import keep
from firstfault.subject.memo import Memo, Memos, Stage, memo, part
from firstfault.target.declaration import Data, Deployment, Target, Training
from firstfault.target.estimators import parted
from firstfault.training.batches import first_batch
from firstfault.training.loop import Trained, train
from firstfault.training.one_tensor import inputs_of_call
from firstfault.training.prepared_recipe import make_recipe
from firstfault.training.preprocessing import Pipeline, prepare
from firstfault.training.recipe import Recipe, Tensors, outputs_of
from firstfault.training.uncompiled import spare_compiler

T = TypeVar("T")

if TYPE_CHECKING:
    from firstfault.data.profile import Profiling
    from firstfault.data.reading import Reading
    from firstfault.probe import Probe, Record
    from firstfault.probe.capture import Capture

Trainer = Callable[["Subject", "Probe"], Trained]


def plainly(subject: Subject, probe: Probe) -> Trained:
    """Train the subject's recipe under a probe, and do nothing else on the way."""
    return train(subject.recipe, subject.seed, probe=probe)


class Subject:
    """A target with its parts.

    `folder` takes the files that examining it makes; `trainer` trains it, plainly if left out.
    """

    def __init__(
        self, target: Target, folder: Path, depth: Depth = Depth.STANDARD, *, trainer: Trainer | None = None
    ) -> None:
        if target.model is not None and target.training is None and not target.by_gradients:
            target = replace(target, training=Training())  # an estimator needs no more
        self.target = target
        self.folder = folder
        self.depth = depth
        self.memos = Memos()
        self._trainer = trainer or plainly
        spare_compiler()
        self.owner: Subject = self  # of a part of a model tested alone: the subject of the whole
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, need: str | Memo[[], Any]) -> Any:
        """The part of that name, or what a memo makes of the subject.

        Raises:
            Missing: when the target does not declare it.
            UserCodeError: when the user's code raised while making it.
            TargetError: when it is declared wrongly.
        """
        return getattr(self, need) if isinstance(need, str) else need(self)

    @property
    def seed(self) -> int:
        """The seed the target sets."""
        return self.target.training.seed if self.target.training else 0

    @property
    def data(self) -> Data:
        """What the target declares of its data; Missing where it declares none."""
        if self.target.data is None:
            raise Missing("the target declares no data")
        return self.target.data

    @property
    def training(self) -> Training:
        """What the target declares of its training; Missing where it declares none."""
        if self.target.training is None:
            raise Missing("the target declares no training")
        return self.target.training

    def masked(self, text: str) -> str:
        """A text without personal data: its own, and the values of the raw data's personal columns that it quotes."""
        return masked_text(text) if self.made(Subject.source) is None else self.known.masked(text)

    @memo(of="raw")
    def known(self) -> Known:
        """The personal values of the raw data, by which texts are masked."""
        return Known([split.X for _, split in self.source.items()])

    def made(self, memo: Memo[[], T]) -> T | None:
        """What a memo has made; None where it has not been asked, or failed."""
        value = self.memos.peek(memo)
        return None if isinstance(value, Exception) else value  # type: ignore[no-any-return]

    def failed(self, memo: Memo[[], Any]) -> bool:
        """Whether a memo was asked, and failed."""
        return isinstance(self.memos.peek(memo), Exception)

    def supply(self, memo: Memo[[], T], value: T | Exception) -> None:
        """Give the value of a memo, or the failure that it raises, instead of letting it be made."""
        self.memos.put(memo, memo.stage, value)

    def up_to(self, stage: Stage) -> Subject:
        """The same subject with nothing made that depends on more than `stage`; its owner stays."""
        other = copy.copy(self)
        other.memos = self.memos.up_to(stage)
        return other

    def with_recipe(self, recipe: Recipe) -> Subject:
        """The same subject with another recipe: its data stay, its model and training are made anew."""
        other = self.up_to("prepared")
        other.supply(Subject.recipe_and_classes, (recipe, self.classes))
        return other

    @memo(of="raw")
    def source(self) -> Splits:
        """The raw splits, with every row."""
        if self.target.data is None:
            raise Missing("the target declares no data")
        return load_raw(self.target)

    @memo(of="raw")
    def raw(self) -> Splits:
        """The raw splits; without the rows that were set aside, where the target asks for that."""
        if self.target.data is None or not self.target.data.quarantine or not self.quarantined:
            return self.source
        return without(self.source, self.quarantined)

    @memo(of="raw")
    def expected(self) -> Expected | None:
        """The data's expectations, validated; None where the data are no table."""
        declared = self.target.data is not None and self.target.data.reference is not None
        return expected_of(self.target, self.source, self.reference if declared else None)

    @memo(of="raw")
    def quarantined(self) -> dict[int, list[str]]:
        """The reasons for each row of `source` that breaks a critical expectation, by position over the splits."""
        return rows_to_set_aside(self.expected) if self.expected is not None else {}

    @memo(of="raw")
    def reference(self) -> Split:
        """The reference data."""
        return self._reference[0]

    @property
    def reference_reading(self) -> Reading:
        """What reading the reference taught."""
        return self._reference[1]

    @memo(of="raw")
    def _reference(self) -> tuple[Split, Reading]:
        found = read_reference(self.target) if self.target.data else None
        if found is None:
            raise Missing("the target declares no data.reference")
        return found

    @memo(of="raw")
    def profiling(self) -> Profiling:
        """The profile of a sample of the training table, in the making."""
        from firstfault.data.frames import table
        from firstfault.data.profile import start

        frame = table(self.raw.train.X)
        if frame is None:
            raise Missing("only tables are profiled")
        declared = self.target.data is not None and self.target.data.reference is not None
        return start(
            frame, self.folder, self.target.name, self.seed, reference=table(self.reference.X) if declared else None
        )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let what works beside the checks, the profile, rest: what is timed has the machine to itself."""
        profiling = self.made(Subject.profiling)
        with profiling.paused() if profiling is not None else contextlib.nullcontext():
            yield

    def settle(self) -> None:
        """Wait for what works beside the checks: the pages of the profile."""
        if (profiling := self.made(Subject.profiling)) is not None:
            profiling.finish()

    @part(Layer.PREPROCESSING, "preprocess", of="prepared")
    def pipeline(self) -> Pipeline:
        """The fitted preprocessing, with the splits after every step."""
        return prepare(self.target, self.raw)

    @part(Layer.PREPROCESSING, of="prepared")
    def prepared(self) -> Splits:
        """The splits after preprocessing."""
        return self.pipeline.prepared

    @part(Layer.PREPROCESSING, "preprocess", of="model")
    def recipe_and_classes(self) -> tuple[Recipe, tuple[Any, ...]]:
        if self.target.model is None:
            raise Missing("the target declares no model")
        training = self.target.training or Training()
        model = self.target.model if self.target.by_gradients else self._final_estimator
        sparse = self.pipeline.sparse
        return make_recipe(self.target.task, self.prepared, model, training, self.target.root, sparse=sparse)

    @property
    def _final_estimator(self) -> Any:
        """The estimator without the steps that are examined as preprocessing; behind `prepare`, with them."""
        estimator = self.target.estimator
        return estimator if self.target.prepare is not None else parted(estimator)[1]

    @property
    def recipe(self) -> Recipe:
        """The target's own training: prepared tensors, model factory, settings."""
        return self.recipe_and_classes[0]

    @property
    def classes(self) -> tuple[Any, ...]:
        """The label values in the order of their class ids; empty when the task has no classes."""
        return self.recipe_and_classes[1]

    @part(Layer.MODEL, of="model")
    def model(self) -> nn.Module:
        """A freshly initialised model, in eval mode. Copy it before changing it: `fresh_model`."""
        return self.recipe.build(self.seed).eval()

    def fresh_model(self) -> nn.Module:
        """A copy of `model` in train mode, free to be changed."""
        return copy.deepcopy(self.model).train()

    @part(Layer.MODEL, of="model")
    def batch(self) -> Tensors:
        """One shuffled training batch, `x` in the dtype the model takes."""
        recipe = self.recipe
        order = torch.randperm(len(recipe.train), generator=torch.Generator().manual_seed(self.seed))
        if (inputs := inputs_of_call(self.model)) is not None and not inputs.separable:
            order = torch.arange(len(recipe.train))
        rows = first_batch(recipe, recipe.train.rows(order)) or recipe.train.rows(order[: recipe.training.batch_size])
        return Tensors(recipe.inputs_for(self.model, rows.x), rows.y)

    @part(Layer.MODEL, of="model")
    def labels(self) -> torch.Tensor:
        """Encoded labels `(N, …)` of `batch`."""
        return self.batch.y

    @part(Layer.MODEL, "the model in eval mode", of="model")
    def outputs(self) -> torch.Tensor:
        """Outputs `(N, …)` of the fresh model on `batch`, in eval mode."""
        with torch.no_grad():
            return outputs_of(self.model(self.batch.x))

    @part(Layer.TRAINING, "training", of="trained")
    def trained(self) -> Trained:
        """The target trained once under observation."""
        from firstfault.probe import Probe
        from firstfault.probe.capture import Capture

        capture = Capture() if self.training.fit is not None else None
        trained = self._trainer(self, Probe(self.folder, capture=capture, events=False))
        self.supply(Subject.capture, capture)
        if self.target.by_gradients:  # a file of weights holds no estimator
            keep(trained, self.folder)
        return trained

    @part(Layer.TRAINING, of="trained")
    def capture(self) -> Capture | None:
        """What was captured of the user's own loop; None where there is none."""
        return None

    @part(Layer.TRAINING, of="trained")
    def record(self) -> Record:
        """What was seen of the training."""
        if not self.target.by_gradients:
            raise Missing(NO_STEPS)
        if self.trained.record is None or self.trained.record.steps == 0:
            raise Missing("no optimizer step was seen")
        return self.trained.record  # type: ignore[no-any-return]

    @part(Layer.DEPLOYMENT, of="trained")
    def deployment(self) -> Deployment:
        """The declared deployment; an empty one (the model trained here, saved by MLflow) when left out."""
        return self.target.deployment or Deployment()
