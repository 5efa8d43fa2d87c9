"""Personal values masked by a key that lies in a store, so that equal values become equal pseudonyms there.

A field is known by its name and value; what it held can then be found wherever else it is quoted. Of a query's
parameters those are kept that hold nothing personal.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from firstfault.data.privacy.columns import kind_of
from firstfault.data.privacy.patterns import MASK, SUSPECT, pieces

SECRET = re.compile(r"pass(?:word|wd|phrase)|secret|token|api[-_]?key|authorization|credential|cookie|session", re.I)
"""Names of what is never written, whatever it looks like."""
_ASSIGNED = re.compile(
    r"((?:pass(?:word|wd|phrase)|secret|token|api[-_]?key|credential|session|authorization)[\w-]*['\"]?\s*[:=]\s*"
    r"(?:bearer |basic )?)(['\"]?)([^\s'\",;&}\])]{3,})",
    re.I,
)
_PAIR = re.compile(r"""(["'])([\w .-]{1,64})\1(\s*[:=]\s*)(?:(["'])((?:(?!\4)[^\\\n]){1,400})\4|(-?\d{5,20})\b)""")
_BEARER = re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}|\b(sk-)[\w-]{8,}", re.I)
_SUSPECT = re.compile(SUSPECT)
SHORTEST_QUOTED = 3
"""Letters: shorter personal values, such as initials, would be masked in every word."""
MOST_FIELDS = 2_000
"""Names whose kind is remembered: bounds the memory."""
SHORT, MOST_CACHED = 64, 8_192
"""Short texts, such as categories and names of fields, come again and again."""
KEY_BYTES = 32
"""More than anyone can guess; a file of another length is a key half written."""
Named = str | tuple[str, ...]
"""What names a value: its field, or the columns of the table that it is."""


def key_of(folder: Path) -> bytes:
    """The key of a store's pseudonyms, made when it is first asked for; only its owner can read it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "key"
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return _read_key(file)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(key := os.urandom(KEY_BYTES))
    return key


def _read_key(file: Path) -> bytes:
    for _ in range(1000):  # another writer of the same store may be making it now
        if len(key := file.read_bytes()) == KEY_BYTES:
            return key
    file.unlink(missing_ok=True)  # its maker was killed half-way
    return key_of(file.parent)


class KeyedMask:
    """Masks what belongs to one store."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._short = functools.lru_cache(maxsize=MOST_CACHED)(self._text)
        self._kind = functools.lru_cache(maxsize=MOST_CACHED)(_kind_of_text)

    def pseudonym(self, kind: str, value: object) -> str:
        """A name for a value that tells nothing of it: the same for the same value in this store."""
        text = str(value).encode("utf-8", "backslashreplace")
        return f"{kind} •{hashlib.blake2b(text, key=self._key, digest_size=5).hexdigest()}"

    def text(self, text: str) -> str:
        """A text without personal pieces and secrets."""
        return self._short(text) if len(text) <= SHORT else self._text(text)

    def _text(self, text: str) -> str:
        if ":" in text or "=" in text:
            text = _ASSIGNED.sub(rf"\1\2{MASK}", _PAIR.sub(self._pair, text))
        text = _BEARER.sub(lambda found: f"{found[1] or found[2]}{MASK}", text)
        if _SUSPECT.search(text) is None:
            return text
        parts, last = [], 0
        for start, end, kind in pieces(text):
            parts += [text[last:start], self.pseudonym(kind, text[start:end])]
            last = end
        return "".join([*parts, text[last:]])

    def _pair(self, found: re.Match[str]) -> str:
        """A name and its value, as JSON and Python write them, masked as a field is."""
        value = found[5] if found[5] is not None else found[6]
        kind = self.kind(found[2], value)
        return found[0] if kind is None else f"{found[1]}{found[2]}{found[1]}{found[3]}{self.pseudonym(kind, value)}"

    def identity(self, request_id: str) -> str:
        """A request's id as it is written: itself, or a pseudonym where it holds something personal."""
        return request_id if self.text(request_id) == request_id else self.pseudonym("id", request_id)

    def tree(self, value: Any, name: Named = "") -> Any:
        """Nested lists and mappings, masked by the names of their fields and by what their texts look like."""
        if isinstance(value, dict):
            return {self.text(str(key)): self.tree(item, about) for key, item, about in _below(value)}
        if isinstance(value, list | tuple):
            return [self.tree(item, about) for item, about in _each(value, name)]
        if value is None or isinstance(value, bool):
            return value
        kind = self.kind(name, value) if isinstance(name, str) and name else None
        if kind is not None:
            return self.pseudonym(kind, value)
        return self.text(value) if isinstance(value, str) else value

    def kind(self, name: str, value: Any) -> str | None:
        """What personal kind a field of that name and value is; None where it is none."""
        if isinstance(value, str):
            return self._kind(name, value) if len(value) <= SHORT else _kind_of_text(name, value)
        kind = _kind_of_numbers(name)
        return None if kind is None else kind_of(name, [value])

    def quoted_in(self, text: str) -> Iterator[tuple[str, str]]:
        """The same of a text that is no JSON any more, by the pairs of names and values that can be seen in it."""
        for found in _PAIR.finditer(text):
            yield from self.quoted({found[2]: found[5] if found[5] is not None else found[6]})

    def quoted(self, value: Any, name: Named = "") -> Iterator[tuple[str, str]]:
        """The personal values of a tree as they may be quoted elsewhere, with their pseudonyms."""
        if isinstance(value, dict):
            for _, item, about in _below(value):
                yield from self.quoted(item, about)
        elif isinstance(value, list | tuple):
            for item, about in _each(value, name):
                yield from self.quoted(item, about)
        elif isinstance(name, str) and name and value is not None and not isinstance(value, bool):
            kind = self.kind(name, value)
            if kind is not None and len(text := str(value).strip()) >= SHORTEST_QUOTED:
                yield text, self.pseudonym(kind, value)
                yield from ((word, self.pseudonym(kind, word)) for word in _words(kind, text))

    def query(self, query: bytes) -> str:
        """A query string, masked by its parameters."""
        if not query:
            return ""
        parameters = urllib.parse.parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        return "?" + "&".join(f"{self.text(name)}={self.tree(value, name)}" for name, value in parameters)


def _kind_of_text(name: str, value: str) -> str | None:
    return "secret" if SECRET.search(name) else kind_of(name, [value])


@functools.lru_cache(maxsize=MOST_FIELDS)
def _kind_of_numbers(name: str) -> str | None:
    """What personal kind the numbers of a field are, by its name."""
    kinds = (kind_of(name, [example]) for example in (41446681800, 4111111111111111, 19800131))
    return next((kind for kind in kinds if kind is not None), None)


def _below(value: dict[Any, Any]) -> Iterator[tuple[Any, Any, Named]]:
    """The entries of a mapping with what names their values: a key, the columns of a table, or a tensor's name."""
    columns = value.get("columns")
    tensor = value.get("name") if "data" in value else None
    for key, item in value.items():
        if key in ("data", "rows") and isinstance(columns, list):
            yield key, item, tuple(map(str, columns))
        elif isinstance(tensor, str) and key in ("data", "name"):
            yield key, item, tensor if key == "data" else ""
        else:
            yield key, item, str(key)


def _each(value: Sequence[Any], name: Named) -> Iterator[tuple[Any, Named]]:
    """The items of a list with what names them: in a row of a table, each has its column's name."""
    row = not isinstance(name, str) and not any(isinstance(item, list | tuple | dict) for item in value)
    names: Iterable[Named] = name if row else itertools.repeat(name)
    return zip(value, itertools.chain(names, itertools.repeat("")), strict=False)


def _words(kind: str, text: str) -> list[str]:
    """The single words of a name, which an error's text may quote alone."""
    words = re.findall(r"[^\W\d_][\w'-]{2,}", text) if kind == "name" else []
    return words if len(words) > 1 else []
