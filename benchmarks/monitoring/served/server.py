"""The serving code of a base, as one writes it: parse, prepare, ask the model, name the answer.

A fault of serving is another one of these parts; the rest goes on as it did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from monitoring.served.bases import Base
from monitoring.served.populations import Array


class Refused(ValueError):
    """A request that can't be answered."""


@dataclass
class Answer:
    """What was seen of one request."""

    tensor: Any = None
    logits: Any = None
    label: Any = None
    shown: Any = None
    """The body of the answer."""
    status: int = 200
    error: str = ""
    marks: list[str] = field(default_factory=list)


@dataclass
class Server:
    """A base that answers; each field is one part of the way."""

    base: Base
    parse: Callable[[list[Any]], Any]
    prepare: Callable[[Any], torch.Tensor]
    model: nn.Module
    classes: tuple[Any, ...]
    check: Callable[[Any], None]
    """Raises Refused of a request that is not what it must be."""
    version: str = "7"
    key: Callable[[Any], object] | None = None
    """What a request is cached by; None where nothing is cached."""
    held: dict[object, Answer] = field(default_factory=dict)
    batch: int = 256
    """Requests that the model is asked at once."""

    def answer(self, raw: list[Any]) -> list[Answer]:
        """The answers to some requests, in batches as they come."""
        answers = [self._refusal(one) for one in raw]
        asked = [place for place, answer in enumerate(answers) if answer is None]
        for start in range(0, len(asked), self.batch):
            self._some(raw, asked[start : start + self.batch], answers)
        return answers  # type: ignore[return-value]

    def _some(self, raw: list[Any], places: list[int], answers: list[Answer | None]) -> None:
        """Answer those at some places together; where answers are kept, only the first of each key is computed."""
        keys = {place: place if self.key is None else self.key(raw[place]) for place in places}
        first = {key: place for place, key in reversed(keys.items()) if self.key is None or key not in self.held}
        new = sorted(first.values())
        for place, answer in zip(new, self._batch([raw[place] for place in new]), strict=True):
            answers[place] = answer
            if self.key is not None:
                self.held[keys[place]] = answer
        for place in set(places) - set(new):  # nothing was prepared for these, and no model asked
            kept = self.held[keys[place]]
            answers[place] = Answer(label=kept.label, shown=kept.shown)

    def _refusal(self, raw: Any) -> Answer | None:
        try:
            self.check(raw)
        except Refused as error:
            return Answer(status=422, shown={"detail": str(error)})
        return None

    def _batch(self, raw: list[Any]) -> list[Answer]:
        if not raw:
            return []
        try:
            x = self.prepare(self.parse(raw))
            with torch.no_grad():
                logits = self.model(x).float()
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
            if len(raw) > 1:
                return [answer for one in raw for answer in self._batch([one])]
            return [Answer(status=500, error=_traceback(error), shown={"detail": "Internal Server Error"})]
        return [self._named(x[row], logits[row]) for row in range(len(raw))]

    def _named(self, x: torch.Tensor, logits: torch.Tensor) -> Answer:
        tensor, scores = x.numpy(), logits.numpy()
        if self.base.regression:
            value = round(float(scores[0]), 4)
            return Answer(tensor, scores, value, {"prediction": value})
        chances = torch.softmax(logits, 0).numpy().round(6)
        label = self.classes[int(scores.argmax())]
        return Answer(tensor, scores, label, {"label": label, "probabilities": chances.tolist()})


def _traceback(error: Exception) -> str:
    from firstfault.monitor.capture import traceback_of

    return traceback_of(error)


def healthy(base: Base) -> Server:
    """The server as it ought to be."""
    return Server(base, parser(base), base.prepare, base.model, base.classes, checker(base))


def parser(base: Base) -> Callable[[list[Any]], Any]:
    """From requests to what the fitted steps take; what is missing becomes what is usual, as many servers do it."""
    if base.kind == "images":
        return lambda raw: np.array(raw, dtype=float)
    train: pd.DataFrame = base.train
    numbers = [name for name in train.columns if pd.api.types.is_numeric_dtype(train[name])]
    usual = {name: train[name].median() if name in numbers else str(train[name].mode()[0]) for name in train.columns}

    def frame(raw: list[Any]) -> pd.DataFrame:
        found = pd.DataFrame(raw).reindex(columns=list(train.columns))
        for name in numbers:
            found[name] = pd.to_numeric(found[name], errors="coerce").fillna(usual[name])
        others = [name for name in train.columns if name not in numbers]
        found[others] = found[others].fillna({name: usual[name] for name in others}).astype(str)
        return found

    return frame


def checker(base: Base) -> Callable[[Any], None]:
    """Refuses what is no request of that kind at all."""

    def table(raw: Any) -> None:
        if not isinstance(raw, dict) or not raw:
            raise Refused("the body must be an object with fields")
        for value in raw.values():
            if isinstance(value, list | dict):
                raise Refused("a field must be a number or a text")

    def text(raw: Any) -> None:
        if not isinstance(raw, dict) or not isinstance(raw.get("text"), str):
            raise Refused("the body must have a text")

    def image(raw: Any) -> None:
        try:
            shape: Array = np.array(raw, dtype=float)
        except (ValueError, TypeError):
            raise Refused("the body must be an image of 8 × 8 pixels") from None
        if shape.shape != (8, 8) or not np.isfinite(shape).all():
            raise Refused("the body must be an image of 8 × 8 pixels")

    return {"table": table, "texts": text, "images": image}[base.kind]
