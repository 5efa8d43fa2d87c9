"""The personal values of some frames, found wherever a text quotes them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from firstfault.data.privacy.columns import kinds_of, plain_of
from firstfault.data.privacy.masking import distinct, masked_text, masked_tree
from firstfault.data.privacy.patterns import MASK
from firstfault.metrics import Array
from firstfault.texts import hash_values

MOST_WORDS, MOST_LETTERS, MOST_NAMES = 8, 4_000, 100_000
"""Words of a value, letters of a text that are read, values whose words are known: bound the time."""


class Known:
    """The values of the personal columns of some frames: `masked` finds them wherever a text quotes them.

    It keeps hashes, not values, and makes them when the first text is masked. Single words of a name are found where
    they stand in quotes, as in the message of an exception.
    """

    def __init__(self, frames: Iterable[Any]) -> None:
        self._frames = [table for frame in frames if (table := _as_frame(frame)) is not None]

    @functools.cached_property
    def _kinds(self) -> list[dict[Any, str]]:
        return [kinds_of(frame) for frame in self._frames]

    @property
    def kinds(self) -> dict[str, str]:
        """The personal columns of the frames with their kinds."""
        return {str(name): kind for kinds in self._kinds for name, kind in kinds.items()}

    def masked_tree(self, value: Any) -> Any:
        """Nested lists and mappings, masked as `masked_tree` and `masked` do."""
        return masked_tree(value, self.kinds, self.masked)

    @functools.cached_property
    def _hashes(self) -> dict[str, Array]:
        """Sorted hashes of the distinct values, by kind; those of the single words of names under `""`."""
        found: dict[str, list[Array]] = {}
        for frame, kinds in zip(self._frames, self._kinds, strict=True):
            for name, kind in kinds.items():
                texts = _as_texts(distinct(frame[name])[1])
                found.setdefault(kind, []).append(_hashed(texts))
                if kind == "name":
                    words = {word for text in texts[:MOST_NAMES] for word in re.findall(r"[\w'-]{3,}", text)}
                    found.setdefault("", []).append(_hashed(sorted(words)))
        return {kind: np.unique(np.concatenate(parts)) for kind, parts in found.items()}

    def masked(self, text: str) -> str:
        """A text without personal pieces, and without the values of personal columns that it quotes."""
        text = masked_text(text)
        for quoted, kind in self._quoted(text) if self._hashes else ():
            text = text.replace(quoted, f"{kind} {MASK}")
        return text

    def _quoted(self, text: str) -> list[tuple[str, str]]:
        """Values of personal columns that a text holds as whole words, with their kinds; the longest first."""
        whole = dict.fromkeys(sorted(_spans(text), key=len, reverse=True))
        quoted = dict.fromkeys(match[1] for match in re.finditer(r"""['"]([\w-]{3,})['"]""", text[:MOST_LETTERS]))
        return [
            *self._among(list(whole), [kind for kind in self._hashes if kind]),
            *self._among(list(quoted), self._hashes),
        ]

    def _among(self, spans: Sequence[str], kinds: Iterable[str]) -> list[tuple[str, str]]:
        return [
            (span, kind or "name")
            for span, value in zip(spans, _hashed(spans), strict=True)
            for kind in kinds
            if _holds(self._hashes[kind], value)
        ]


def _holds(known: Array, value: np.uint64) -> bool:
    place = int(np.searchsorted(known, value))
    return place < len(known) and bool(known[place] == value)


def _as_frame(value: Any) -> pd.DataFrame | Mapping[Any, pd.Series] | None:
    """A frame or columns by name as they are, an array of texts as a frame; None for what has no personal columns."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "OUS" and value.ndim == 2:
        return pd.DataFrame(value)
    return (
        value if isinstance(value, Mapping) or (isinstance(value, pd.DataFrame) and value.columns.is_unique) else None
    )


def _as_texts(values: Any) -> list[str]:
    """Distinct values as a text would quote them; days also without their time."""
    texts = [value.strip() if isinstance(value, str) else plain_of(value) for value in values]
    return texts + [str(value)[:10] for value in values if hasattr(value, "isoformat")]


def _spans(text: str) -> Iterable[str]:
    """Runs of up to eight words that could be a personal value: no lower-case word on its own, no short number."""
    words = [match.span() for match in re.finditer(r"[\w@+(][\w@.'’+\-/()]*", text[:MOST_LETTERS])]
    for first, (start, end) in enumerate(words):
        if _telling(text[start:end]):
            yield from _both_ends(text[start:end])
        for _, later in words[first + 1 : first + MOST_WORDS]:
            yield from _both_ends(text[start:later])


def _both_ends(span: str) -> set[str]:
    """A run of words with and without the marks at its end."""
    return {value for value in (span, span.rstrip(".,;:'’)")) if len(value) > 2}


def _telling(word: str) -> bool:
    plain = word.strip("'.,")
    if plain.isdigit():
        return len(plain) > 5
    return plain != plain.lower() or any(letter.isdigit() for letter in plain)


def _hashed(values: Sequence[str]) -> Array:
    boxed = np.empty(len(values), dtype=object)
    boxed[:] = values
    return hash_values(boxed)
