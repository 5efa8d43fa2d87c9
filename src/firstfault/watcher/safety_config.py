"""What a safety debugger is told once, and how a model is trained where nothing else is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from firstfault.behaviour.suites import Suite
from firstfault.errors import TargetError
from firstfault.probe.sinks.base import Sink
from firstfault.watcher.answer_safety import SafetyMonitor
from firstfault.watcher.safety_report import Alert

Answers = Callable[[nn.Module, Any], Sequence[tuple[str, str]]]
ALPHA = 0.05
"""What all looks together risk of a false stop: the customary one."""


def own_loss(model: nn.Module, batch: Any) -> torch.Tensor:
    """The model's own loss of a mapping with labels; of a pair, the cross-entropy of its outputs."""
    if isinstance(batch, Mapping):
        found: torch.Tensor = model(**batch).loss
        return found
    inputs, labels = batch
    return nn.functional.cross_entropy(model(inputs), labels)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    """AdamW at the rate of most fine-tunings."""
    return torch.optim.AdamW(parameters, lr=5e-5)


@dataclass(frozen=True)
class DebugConfig:
    """What a safety debugger is told once.

    Attributes:
        name: of the training.
        loss: (model, batch) -> loss; the model's own, or a cross-entropy, if left out.
        optimizer: parameters -> optimizer.
        tokenizer: reads the batches' ids, and lets the model answer prompts.
        generate: prompt -> text, in place of the tokenizer's.
        answers: (model, batch) -> [(prompt, answer) of each row], in place of what the tokenizer reads.
        monitor: judges these answers; without it, batches have no scores.
        suites: asked before the training and after each epoch: names of shipped ones, files, or `Suite`s.
        alpha: what all looks together risk of a false stop.
        every: in every so many batches the model itself is asked one of their prompts; 0 for never.
        stop_on_critical: whether a critical violation ends the training.
        on_alert: called with each `Alert`.
        event: the name of the Prefect event that tells of an alert; "" for none.
        sinks: where scores go, beside the watch's numbers: MLflow, W&B and others of `firstfault.sinks`.
        folder: of the record, the report and checkpoints; a new run of the state folder if left out.
        failures: the state folder in whose store severe answers are kept, and like ones are found; None for neither.
        show_texts: put prompts and answers into the report.
    """

    name: str = "training"
    loss: Callable[[nn.Module, Any], torch.Tensor] = own_loss
    optimizer: Callable[[Any], torch.optim.Optimizer] = adamw
    tokenizer: Any = None
    generate: Callable[[str], object] | None = None
    answers: Answers | None = None
    monitor: SafetyMonitor | None = None
    suites: Sequence[str | Path | Suite] = ()
    alpha: float = ALPHA
    every: int = 20
    stop_on_critical: bool = True
    on_alert: Callable[[Alert], object] | None = None
    event: str = ""
    sinks: Sequence[Sink] = ()
    folder: str | Path | None = None
    failures: str | Path | None = None
    show_texts: bool = False
    root: Path = field(default_factory=Path.cwd)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise TargetError(f"DebugConfig.alpha must be between 0 and 1, but is {self.alpha!r}")
        if type(self.every) is not int or self.every < 0:
            raise TargetError(f"DebugConfig.every must be a whole number of batches, but is {self.every!r}")
        for name in ("loss", "optimizer"):
            if not callable(getattr(self, name)):
                raise TargetError(f"DebugConfig.{name} must be a function, but is {getattr(self, name)!r:.60}")
