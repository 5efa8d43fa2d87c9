"""What a text or an array looks like, in a few numbers: is it language, is it a picture."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

LONGEST = 2_000
"""Letters of a text that are looked at."""
FEWEST_LETTERS = 12
"""Of fewer, nothing is said."""
TEXT_MARKS = ("length", "compressed", "letters", "strange")
ARRAY_MARKS = ("mean", "spread", "lowest", "highest", "rough")


class Letters:
    """How usual the pairs of letters of a text are, learned from texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(_pairs(text))
        total = sum(counts.values()) + len(counts) + 1
        self._log = {pair: float(-np.log((n + 1) / total)) for pair, n in counts.items()}
        self._unknown = float(np.log(total)) + 1.0

    def strangeness(self, text: str) -> float:
        """The mean surprise of the pairs of a text, in nats; that of a text without any is unknown (NaN)."""
        pairs = _pairs(text)
        if len(pairs) < FEWEST_LETTERS:
            return float("nan")
        return sum(self._log.get(pair, self._unknown) for pair in pairs) / len(pairs)


def _pairs(text: str) -> list[str]:
    text = text[:LONGEST].lower()
    return [text[place : place + 2] for place in range(len(text) - 1)]


def of_text(text: str, letters: Letters) -> tuple[float, ...]:
    """`TEXT_MARKS` of a text: log length, compressed size over size, share of letters and blanks, strangeness."""
    if not text:
        return (0.0, float("nan"), float("nan"), float("nan"))
    encoded = text[:LONGEST].encode("utf-8", "replace")
    compressed = len(zlib.compress(encoded, 1)) / len(encoded) if len(text) >= FEWEST_LETTERS else float("nan")
    plain = sum(letter.isalpha() or letter == " " for letter in text[:LONGEST]) / min(len(text), LONGEST)
    return (float(np.log1p(len(text))), compressed, plain, letters.strangeness(text))


def script_of(text: str) -> str:
    """The script of most letters of a text: latin, other blocks by the number of their page; "" of few letters."""
    found = Counter(
        "latin" if ord(letter) < 0x250 else f"U+{ord(letter) >> 8:02X}" for letter in text[:200] if letter.isalpha()
    )
    return found.most_common(1)[0][0] if sum(found.values()) >= FEWEST_LETTERS else ""


def of_array(array: Any) -> tuple[float, ...]:
    """`ARRAY_MARKS` of numbers in any shape; `rough` is the mean difference of neighbours over the spread."""
    values = np.asarray(array, dtype=float)
    if values.size == 0:
        return (float("nan"),) * len(ARRAY_MARKS)
    spread = float(values.std())
    plane = values if values.ndim < 3 else values[0] if values.shape[0] <= 4 else values[..., 0]
    steps = [float(np.abs(np.diff(plane, axis=axis)).mean()) for axis in range(plane.ndim) if plane.shape[axis] > 1]
    rough = float(np.mean(steps)) / spread if steps and spread > 0 else 0.0
    return (float(values.mean()), spread, float(values.min()), float(values.max()), rough)
