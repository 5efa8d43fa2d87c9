"""Checks of an incident's texts: noise that no person wrote, and nothing that a model can answer."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from firstfault.check import check
from firstfault.finding import Layer, Status
from firstfault.judgement import Judgement, passed, skipped
from firstfault.subject.incident import incident
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind

SHORTEST = 12
"""Letters: the pairs of a shorter text are too few to be unlike others."""
FEWEST = 20
"""Texts on each side: a share of them errs by 0.11 at most."""


@memo(of="raw")
def odd_texts(subject: Subject) -> tuple[float, float, frozenset[str]]:
    """The shares of texts that are unlike the control's, in the control and now, and those of the incident."""
    seen = incident(subject)
    field = field_of(seen.control.fair.values("raw"))
    before, now = (texts_of(each.fair.values("raw"), field) for each in (seen.control, seen.requests))
    if min(len(before), len(now)) < FEWEST:
        return 0.0, 0.0, frozenset()
    language = _Language(before)
    limit = language.limit
    odd = [text for text in now if language.surprise(text) > limit]
    usual = sum(language.surprise(text) > limit for text in before) / len(before)
    return usual, len(odd) / len(now), frozenset(odd)


def field_of(values: Sequence[Any]) -> str:
    """The field of the control's rows that holds the longest texts; a new field is none of these."""
    lengths: Counter[str] = Counter()
    for value in values:
        if isinstance(value, dict):
            lengths.update({str(name): len(text) for name, text in value.items() if isinstance(text, str)})
    return lengths.most_common(1)[0][0] if lengths else ""


def texts_of(values: Sequence[Any], field: str) -> list[str]:
    """The texts among raw samples: themselves, or a field of a row."""
    texts = [value.get(field) if isinstance(value, dict) else value for value in values]
    return [text for text in texts if isinstance(text, str) and len(text) >= SHORTEST]


class _Language:
    """The pairs of letters of the control's texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._pairs = Counter(pair for text in texts for pair in _pairs(text))
        self._all = self._pairs.total()
        halves = [_Half(texts[::2]), _Half(texts[1::2])]
        own = [halves[1].surprise(text) for text in texts[::2]] + [halves[0].surprise(text) for text in texts[1::2]]
        self.limit = float(np.quantile(own, 0.99)) + 0.5

    def surprise(self, text: str) -> float:
        """The mean surprise of a text's pairs of letters, in nats, or how far it compresses beyond all others."""
        return _surprise(self._pairs, self._all, text)


class _Half(_Language):
    def __init__(self, texts: Sequence[str]) -> None:
        self._pairs = Counter(pair for text in texts for pair in _pairs(text))
        self._all = self._pairs.total()


def _pairs(text: str) -> list[str]:
    lower = text.lower()
    return [lower[place : place + 2] for place in range(len(lower) - 1)]


def _surprise(pairs: Counter[str], total: int, text: str) -> float:
    own = _pairs(text)
    if not own:
        return 0.0
    found = float(np.mean([-np.log((pairs[pair] + 0.1) / (total + 0.1 * 4000)) for pair in own]))
    squeezed = len(zlib.compress(text.encode())) / len(text.encode())
    return found + (5.0 if len(text) > 60 and squeezed < 0.2 else 0.0)


@check(layer=Layer.DATA, needs={incident}, detects={"gibberish_input": 0.8}, kind=SubjectKind.INCIDENT)
def served_gibberish(subject: Subject, *, share: float = 0.05) -> Iterator[Judgement]:
    """Find texts that are no language: noise, a broken encoding, one character over and over.

    Measures: the mean surprise of each text's pairs of letters by those of the control's texts, and how far it
        compresses; the share of texts beyond 99 % of the control's.
    Fails when: it is above `share`, less that of the control.
    Not a fault when: the control has as many, as where its texts are codes.
    Source: Shannon 1951, Prediction and Entropy of Printed English.
    """
    usual, now, odd = odd_texts(subject)
    if not odd and not now:
        seen = incident(subject)
        if len(texts_of(seen.requests.fair.values("raw"), field_of(seen.control.fair.values("raw")))) < FEWEST:
            yield skipped("there are no texts in the requests")
            return
    message = f"{now:.0%} of the texts have letters as no text of the control has ({usual:.0%} of these)"
    if now - usual <= share:
        yield passed(message, value=now)
        return
    yield Judgement(Status.FAIL, message, now, share, faults={"gibberish_input": 0.8})
