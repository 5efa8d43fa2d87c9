"""The kept failures that are most like a new one: by their words, scorer, symptom and first bad cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from firstfault.behaviour.store.record import Failure

LEAST, MOST = 0.35, 3
"""Of likeness, below which two failures share an article and a scorer; and how many are shown."""
AGREES = 0.1
"""What each of scorer, symptom and first bad cut adds where it is the same: words count more than all three."""
DIMENSIONS = 2**14
"""Of the hashed runs of letters: ten times those of a long prompt."""


class Near(NamedTuple):
    """A kept failure, and how like it is, 0–1."""

    failure: Failure
    likeness: float

    def __str__(self) -> str:
        known = self.failure
        helped = f"; what helped: {known.remedy}" if known.remedy else "; an edit passes" if known.edit else ""
        return f"{known.id[:8]} ({known.name}, {known.standing.value}) by {self.likeness:.0%}{helped}"


def nearest(failure: Failure, kept: Sequence[Failure], most: int = MOST) -> list[Near]:
    """The likest of the kept failures, the likest first; itself is none of them."""
    from sklearn.feature_extraction.text import HashingVectorizer

    others = [each for each in kept if each.id != failure.id and each.kind is failure.kind]
    if not others:
        return []
    letters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=DIMENSIONS)
    weights = letters.transform([failure.text, *(each.text for each in others)])
    words = (weights[1:] @ weights[0].T).toarray().ravel()
    found = [Near(each, round(_likeness(failure, each, float(by)), 2)) for each, by in zip(others, words, strict=True)]
    found = [each for each in found if each.likeness >= LEAST]
    return sorted(found, key=lambda each: -each.likeness)[:most]


def _likeness(one: Failure, other: Failure, words: float) -> float:
    shared = sum(bool(value) and value == getattr(other, name) for name, value in _marks(one).items())
    return (1 - AGREES * len(_marks(one))) * words + AGREES * shared


def _marks(failure: Failure) -> dict[str, str]:
    return {"scorer": failure.scorer, "symptom": failure.symptom, "first_cut": failure.first_cut}
