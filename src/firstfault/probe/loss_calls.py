"""The calls of torch's loss functions: what the last one learnt from, and what validation came to."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch

from firstfault.probe.answer_rows import AnswerRows
from firstfault.probe.capture import Capture
from firstfault.probe.code_lines import CodeLines
from firstfault.probe.constant_answers import ConstantAnswers
from firstfault.probe.label_pull import LabelPull
from firstfault.probe.loss_hooks import hear_losses
from firstfault.probe.loss_inputs import LossInputs
from firstfault.probe.nonfinite_origin import LossCall
from firstfault.probe.pass_weights import PassWeights
from firstfault.probe.record import Record
from firstfault.probe.token_rows import TokenRows
from firstfault.probe.token_targets import TokenTargets
from firstfault.training.losses import IGNORED


class LossCalls:
    """Listens to the loss functions of torch; `paused` says when not to, and `capture` is told what is learnt from."""

    def __init__(
        self, record: Record, capture: Capture | None, paused: Callable[[], bool], lines: CodeLines, pull: LabelPull
    ) -> None:
        self._record, self._capture, self._paused, self._lines, self._pull = record, capture, paused, lines, pull
        self._last: tuple[str, Any, Any] | None = None
        self._sum: torch.Tensor | None = None
        self._count = 0
        self.sampling = False
        self.in_the_open = False
        """Whether a loss that was asked inside a transform is asked once more, while all else pauses."""
        self._constants = ConstantAnswers()
        self._inputs = LossInputs(record)
        self._tokens = TokenTargets(record)
        self._answer_rows = AnswerRows(record)
        self.rows, self._weights = TokenRows(record), PassWeights(record.tokens)

    def patches(self) -> list[Callable[[], None]]:
        """Begin to listen."""
        return hear_losses(self._heard, lambda: self.in_the_open or not self._paused())

    def _heard(self, name: str, given: Mapping[str, Any], value: Any) -> None:
        if torch.is_grad_enabled():
            self._to_learn_from(name, given, value)
        elif isinstance(value, torch.Tensor):
            self._sum = value.detach().mean() + (self._sum if self._sum is not None else 0.0)
            self._count += 1

    def _to_learn_from(self, name: str, given: Mapping[str, Any], value: Any) -> None:
        self._lines.lost()
        if name not in self._record.losses:
            self._record.losses.append(name)
        outputs, target = given.get("input"), given.get("target")
        self._last = name, _weak(outputs), _weak(target)
        if self._capture is not None and not self.in_the_open:
            self._capture.asked(name, given, value)
        self._inputs.called(name, outputs, target)
        if self.rows.given:
            self.rows.asked(name, target, given.get("ignore_index", IGNORED))
        if self.sampling:
            self._constants.saw(name, target, value, given)
            self._inputs.sampled(name, outputs, target, value, log_target=bool(given.get("log_target")))
            self._tokens.asked(name, target, given.get("ignore_index", IGNORED))
            if isinstance(outputs, torch.Tensor) and isinstance(target, torch.Tensor):
                self._pull.asked(name, outputs, target)
                self._answer_rows.asked(outputs, target)
            if self.rows.given:
                self._weights.asked(name, given, value)

    def given(self, args: Any) -> None:
        """A model is called with gradients on: its positional and its named arguments."""
        if self.sampling:
            self._tokens.given(args)
        if self.rows.open:
            self.rows.called(*args)

    def answered(self, inputs: Any, outputs: Any) -> None:
        """A model answered, with gradients on, on a sampled step."""
        self._inputs.answered(outputs)
        self._answer_rows.answered(inputs, outputs)

    def learnt(self, loss: torch.Tensor) -> None:
        """A backward pass begins with this loss."""
        if self.sampling:
            self._inputs.learnt(loss)
            if self.rows.given:
                self._weights.learnt(loss)

    def end_round(self, step: int) -> None:
        """A sampled step is done."""
        self._weights.end_round(step)
        self._answer_rows.end_round()

    def last(self) -> LossCall | None:
        """The last call that was to be learnt from."""
        if self._last is None:
            return None
        name, outputs, target = self._last
        return LossCall(name, outputs and outputs(), target and target())

    def close_validation(self, step: int) -> None:
        """Put the mean of the losses without gradients since the last step into the record."""
        if self._count:
            self._record.validation_loss.add(step, float(self._sum or 0.0) / self._count)
            self._sum, self._count = None, 0

    def note_constants(self) -> None:
        """Put what constant answers would have cost at the end into the record."""
        self._record.constants = self._constants.judged()


def _weak(value: Any) -> Any:
    return weakref.ref(value) if isinstance(value, torch.Tensor) else None
