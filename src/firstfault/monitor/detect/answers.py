"""Answers as numbers: log-odds, classes, values and confidence, whichever of them the reference shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.asked import Answer
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.record import Outcome

MOST_CLASSES = 20
"""Answers of more different values are numbers, or texts, and no classes."""
MOST_SHOWN = 8
RAREST = 0.02
"""Share of a class that is looked at by itself."""
FARTHEST = 8.0
"""Log-odds beyond this are one."""
KNOWN = 0.5


@dataclass(frozen=True)
class Scores:
    """What of the answers is looked at: T numbers of each."""

    names: tuple[str, ...]
    classes: tuple[str, ...]
    look: Callable[[Batch], Array]

    @property
    def are_classes(self) -> bool:
        """Whether answers are classes."""
        return bool(self.classes)


def scores_of(reference: Batch) -> Scores:
    """What can be looked at in the answers of a reference."""
    usual = reference.ended(Outcome.OK) > 0
    answers = [answer for answer, counts in zip(reference.answers, usual, strict=True) if counts]
    classes = _classes(answers)
    parts: list[tuple[str, Callable[[Batch], Array]]] = []
    if answers and sum(bool(answer.scores) for answer in answers) >= KNOWN * len(answers) and _width(answers) <= 2:
        parts.append(("score", _log_odds))
    else:
        parts += [(f"answer {name}", _is_class(name)) for name in _shown(answers, classes)]
    if not classes and answers and sum(_is_number(answer.label) for answer in answers) >= KNOWN * len(answers):
        parts.append(("value", _values))
    if len(reference) and (~np.isnan(reference.confidence[usual])).mean() >= KNOWN and not _has_log_odds(parts):
        parts.append(("confidence", _sureness))

    def look(batch: Batch) -> Array:
        found = np.stack([part(batch) for _, part in parts], axis=1) if parts else np.zeros((len(batch), 0))
        found[batch.ended(Outcome.OK) == 0] = np.nan
        return found

    return Scores(tuple(name for name, _ in parts), tuple(classes), look)


def _has_log_odds(parts: Sequence[tuple[str, object]]) -> bool:
    return any(name == "score" for name, _ in parts)


def _width(answers: Sequence[Answer]) -> int:
    return max((len(answer.scores) for answer in answers), default=0)


def class_of(answer: Answer) -> str | None:
    """An answer's class as text: 1, 1.0, True and "1" are the same one."""
    return None if answer.label is None else plain(answer.label)


def plain(value: object) -> str:
    """A label as text that is the same however it is written."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return {"True": "1", "true": "1", "False": "0", "false": "0"}.get(text, text[:-2] if text.endswith(".0") else text)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _classes(answers: Sequence[Answer]) -> list[str]:
    counts = Counter(name for answer in answers if (name := class_of(answer)) is not None)
    return sorted(counts) if 0 < len(counts) <= min(MOST_CLASSES, max(2, len(answers) / 10)) else []


def _shown(answers: Sequence[Answer], classes: Sequence[str]) -> list[str]:
    """The classes whose share is looked at; of two, one."""
    counts = Counter(class_of(answer) for answer in answers)
    common = [name for name, n in counts.most_common(MOST_SHOWN) if name in classes and n >= RAREST * len(answers)]
    return sorted(common)[:1] if len(classes) == 2 else common


def _is_class(name: str) -> Callable[[Batch], Array]:
    def look(batch: Batch) -> Array:
        found = [class_of(answer) for answer in batch.answers]
        return np.array([np.nan if each is None else float(each == name) for each in found])

    return look


def _log_odds(batch: Batch) -> Array:
    """Log-odds of the second class, or of the only one."""
    found = np.array([_odds(answer.scores) for answer in batch.answers])
    return np.clip(found, -FARTHEST, FARTHEST)


def _odds(scores: tuple[float, ...]) -> float:
    if len(scores) == 2:
        if all(0 <= score <= 1 for score in scores) and abs(sum(scores) - 1) < 1e-3:
            return float(np.log(max(scores[1], 1e-12)) - np.log(max(scores[0], 1e-12)))
        return scores[1] - scores[0]
    if len(scores) == 1:
        score = scores[0]
        return float(np.log(max(score, 1e-12)) - np.log(max(1 - score, 1e-12))) if 0 <= score <= 1 else score
    return float("nan")


def _values(batch: Batch) -> Array:
    return np.array([float(answer.label) if _is_number(answer.label) else np.nan for answer in batch.answers])


def _sureness(batch: Batch) -> Array:
    chance = np.clip(batch.confidence, 1e-6, 1 - 1e-6)
    return np.clip(np.log(chance / (1 - chance)), -FARTHEST, FARTHEST)
