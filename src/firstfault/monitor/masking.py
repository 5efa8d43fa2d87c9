"""Personal values out of a request, before anything of it is written, and wherever else the request quotes them.

Of the headers, the values of a few are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from firstfault.data.privacy.keyed import KeyedMask
from firstfault.monitor.record import KEPT_HEADERS, Captured


class Mask(KeyedMask):
    """Masks what belongs to one store of requests."""

    def headers(self, captured: Captured) -> dict[str, str]:
        """The headers whose values are kept, masked."""
        return {
            name.decode("latin-1"): self.text(value.decode("latin-1"))
            for name, value in captured.headers
            if name in KEPT_HEADERS
        }


class Quoted:
    """The personal values that a request holds, to be found wherever it quotes them, as whole words."""

    def __init__(self, found: Mapping[str, str]) -> None:
        self._names = found
        longest_first = "|".join(re.escape(value) for value in sorted(found, key=len, reverse=True))
        self._pattern = re.compile(rf"(?<!\w)(?:{longest_first})(?!\w)") if found else None

    def without(self, text: str) -> str:
        """A text in which each of them is replaced by its pseudonym."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self._names[found[0]], text)

    def deeply(self, value: Any) -> Any:
        """A tree of plain values, in whose texts they are replaced."""
        if self._pattern is None:
            return value
        if isinstance(value, dict):
            return {self.without(key): self.deeply(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.deeply(item) for item in value]
        return self.without(value) if isinstance(value, str) else value
