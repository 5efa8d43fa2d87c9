"""Answers as numbers: log-odds, classes, values and confidence, whichever of them the reference shows."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.asked import OFF_ONE, Answer, is_distribution, number
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.record import Outcome
from firstfault.values import is_number

MOST_CLASSES = 20
"""Answers of more different values are numbers, or texts, and no classes."""
MOST_SHOWN = 8
"""Classes of which a surrogate is asked; each is a tree more."""
RAREST, STOCK = 0.02, 0.02
"""Share of a class that is looked at by itself."""
FARTHEST = 8.0
"""Log-odds beyond this are one."""
LEAST_ODDS = 1e-12
"""Keeps log-odds finite: far beyond `FARTHEST`."""
LEAST_CHANCE = 1e-6
"""Probabilities are told with six digits at least."""
KNOWN = 0.5
"""Half of the answers must show something before it is looked at."""
CONFIDENCE = "confidence"
ANSWER, SCORE = "answer ", "score "
"""Begin the names of a score that is whether an answer is of a class, and of one of several scores of an answer."""


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
    named = [name for name, counts in zip(reference.classes, usual, strict=True) if counts]
    classes = _classes(named)
    parts: list[tuple[str, Callable[[Batch], Array]]] = []
    scored = bool(answers) and sum(bool(answer.scores) for answer in answers) >= KNOWN * len(answers)
    if not classes and answers and sum(is_number(answer.label) for answer in answers) >= KNOWN * len(answers):
        parts.append(("value", _values))
    elif scored and _width(answers) <= 2:
        parts.append(("score", _log_odds))
    else:
        parts += [(f"{ANSWER}{name}", _is_class(name)) for name in _shown(named, classes)]
        width = _width(answers) if scored and classes else 0
        parts += [(f"{SCORE}{place}", _beside_others(place, width)) for place in range(width) if width <= MOST_CLASSES]
    if not classes and sum(bool(answer.text) for answer in answers) >= KNOWN * max(1, len(answers)):
        parts += [("length of the answer", _length), ("stock answer", _is_stock(answers))]
    if len(reference) and (~np.isnan(reference.confidence[usual])).mean() >= KNOWN and not _are_enough(parts):
        parts.append((CONFIDENCE, _sureness))

    def look(batch: Batch) -> Array:
        found = np.stack([part(batch) for _, part in parts], axis=1) if parts else np.zeros((len(batch), 0))
        found[batch.ended(Outcome.OK) == 0] = np.nan
        return found

    return Scores(tuple(name for name, _ in parts), tuple(classes), look)


def _are_enough(parts: Sequence[tuple[str, object]]) -> bool:
    """Whether there are log-odds, which say how sure an answer is, or numbers, of which nothing does."""
    return any(name in ("score", "value") for name, _ in parts)


def _width(answers: Sequence[Answer]) -> int:
    return max((len(answer.scores) for answer in answers), default=0)


def _classes(named: Sequence[str | None]) -> list[str]:
    counts = Counter(name for name in named if name is not None)
    return sorted(counts) if 0 < len(counts) <= min(MOST_CLASSES, max(2, len(named) / 10)) else []


def _shown(named: Sequence[str | None], classes: Sequence[str]) -> list[str]:
    """The classes that come often enough."""
    counts = Counter(name for name in named if name in classes)
    return [name for name, n in counts.most_common(MOST_SHOWN) if name and n >= RAREST * len(named)]


def _is_class(name: str) -> Callable[[Batch], Array]:
    def look(batch: Batch) -> Array:
        return np.array([np.nan if each is None else float(each == name) for each in batch.classes])

    return look


def _log_odds(batch: Batch) -> Array:
    """Log-odds of the second class, or of the only one."""
    found = np.full(len(batch), np.nan)
    scores = [answer.scores for answer in batch.answers]
    single, pairs = ([at for at, each in enumerate(scores) if len(each) == n] for n in (1, 2))
    if single:
        found[single] = _odds_of_chance(np.array([scores[at] for at in single])[:, 0])
    if pairs:
        found[pairs] = _odds_of_pair(np.array([scores[at] for at in pairs]))
    return np.clip(found, -FARTHEST, FARTHEST)


def _beside_others(place: int, width: int) -> Callable[[Batch], Array]:
    """One of several scores, as a logit beside the mean of all."""

    def look(batch: Batch) -> Array:
        found = np.full(len(batch), np.nan)
        for row, answer in enumerate(batch.answers):
            if len(answer.scores) == width:
                found[row] = _logits(answer.scores)[place]
        return found

    return look


@functools.lru_cache(maxsize=4_096)
def _logits(scores: tuple[float, ...]) -> Array:
    values = np.array(scores)
    if is_distribution(scores):
        values = np.log(np.maximum(values, LEAST_CHANCE))
    return np.clip(values - values.mean(), -FARTHEST, FARTHEST)


def _odds_of_chance(score: Array) -> Array:
    """The log-odds of scores `(n,)` that are chances; others as they are."""
    chance = np.clip(score, 0, 1)
    return np.where(score == chance, _log(chance) - _log(1 - chance), score)


def _odds_of_pair(scores: Array) -> Array:
    """The log-odds of the second of two classes, by scores `(n, 2)` that are chances; else by how much it is larger."""
    chances = ((scores >= 0) & (scores <= 1)).all(1) & (np.abs(scores.sum(1) - 1) < OFF_ONE)
    log = _log(scores)
    return np.where(chances, log[:, 1] - log[:, 0], scores[:, 1] - scores[:, 0])


def _log(chances: Array) -> Array:
    return np.asarray(np.log(np.maximum(chances, LEAST_ODDS)))


def _values(batch: Batch) -> Array:
    return np.array([number(answer.label) if is_number(answer.label) else np.nan for answer in batch.answers])


def _length(batch: Batch) -> Array:
    return np.array([float(np.log1p(len(answer.text))) if answer.text else np.nan for answer in batch.answers])


def _is_stock(answers: Sequence[Answer]) -> Callable[[Batch], Array]:
    """Whether an answer is one of those that are given again and again, as refusals are."""
    counts = Counter(answer.text for answer in answers if answer.text)
    stock = {text for text, n in counts.items() if n >= STOCK * len(answers)}

    def look(batch: Batch) -> Array:
        return np.array([float(answer.text in stock) if answer.text else np.nan for answer in batch.answers])

    return look


def _sureness(batch: Batch) -> Array:
    chance = np.clip(batch.confidence, 1e-6, 1 - 1e-6)
    return np.clip(np.log(chance / (1 - chance)), -FARTHEST, FARTHEST)
