"""How sure an answer is of itself, where it says so: a number in 0–1, the lowest of a batch."""

from __future__ import annotations

import math
from typing import Any

from firstfault.values import is_number

SUMS_TO_ONE = 1e-3
"""How far printed probabilities may be from 1 in all: with four decimals, those of up to 20 classes are nearer."""
SINGLE = ("confidence", "probability", "proba", "score", "p")
SEVERAL = ("probabilities", "probas", "scores", "proba", "confidences")
WRAPPED = ("predictions", "prediction", "outputs", "output", "result", "results")
MOST_ROWS = 1_000
"""Answers of a batch that are looked at: bounds the time."""


def confidence_of(answer: Any) -> float | None:
    """The confidence of an answer: the highest probability of its classes; None where it shows none."""
    if isinstance(answer, dict):
        return _of_mapping(answer)
    if not isinstance(answer, list) or not answer:
        return None
    if _is_distribution(answer):
        return float(max(answer))
    found = [confidence_of(row) for row in answer[:MOST_ROWS] if isinstance(row, list | dict)]
    known = [value for value in found if value is not None]
    return min(known) if known and len(known) == len(found) else None


def _of_mapping(answer: dict[Any, Any]) -> float | None:
    for name in SEVERAL:
        value = answer.get(name)
        values = list(value.values()) if isinstance(value, dict) else value
        if isinstance(values, list) and (found := confidence_of(values)) is not None:
            return found
    for name in SINGLE:
        value = answer.get(name)
        if is_number(value) and 0 <= value <= 1:
            return float(value) if name == "confidence" else max(float(value), 1 - float(value))
    return _first(answer)


def _first(answer: dict[Any, Any]) -> float | None:
    """That of what an answer wraps, or of its only distribution."""
    for name in WRAPPED:
        if isinstance(answer.get(name), list | dict):
            return confidence_of(answer[name])
    lists = [value for value in answer.values() if isinstance(value, list)]
    return confidence_of(lists[0]) if len(lists) == 1 else None


def confidence_of_scores(scores: Any) -> float | None:
    """The confidence in logits or probabilities, of one row or of several."""
    if not isinstance(scores, list) or not scores:
        return None
    if not all(map(is_number, scores)):
        found = [confidence_of_scores(row) for row in scores[:MOST_ROWS]]
        known = [value for value in found if value is not None]
        return min(known) if known else None
    if len(scores) == 1:
        value = float(scores[0])
        chance = value if 0 <= value <= 1 else _logistic(value)
        return max(chance, 1 - chance) if math.isfinite(chance) else None
    if _is_distribution(scores):
        return float(max(scores))
    highest = max(scores)
    total = sum(math.exp(value - highest) for value in scores) if math.isfinite(highest) else math.nan
    return 1 / total if math.isfinite(total) and total > 0 else None


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def confidence_of_tokens(choices: Any) -> float | None:
    """The geometric mean of the probabilities of a text's tokens, where an answer has them."""
    if not isinstance(choices, list):
        return None
    values = [value for choice in choices if isinstance(choice, dict) for value in _logprobs(choice)]
    return math.exp(min(0.0, sum(values) / len(values))) if values else None


def _logprobs(choice: dict[str, Any]) -> list[float]:
    told = choice.get("logprobs")
    if not isinstance(told, dict):
        return []
    content, plain = told.get("content"), told.get("token_logprobs")
    if isinstance(content, list):
        values = [token.get("logprob") for token in content if isinstance(token, dict)]
    else:
        values = plain if isinstance(plain, list) else []
    return [float(value) for value in values if is_number(value)]


def _is_distribution(values: list[Any]) -> bool:
    return (
        len(values) > 1
        and all(is_number(value) and 0 <= value <= 1 for value in values)
        and abs(sum(values) - 1) < SUMS_TO_ONE
    )
