"""What no line may hold: personal data becomes pseudonyms, and what opens doors becomes `secret •••`."""

from __future__ import annotations

import re
from collections.abc import Callable

from firstfault.data.privacy.names import kind_by_name, tokens_of
from firstfault.data.privacy.patterns import MASK, replaced
from firstfault.data.privacy.pseudonyms import SALT, pseudonym
from firstfault.texts import encodable

SECRET = f"secret {MASK}"
MARGIN = 512
"""How much of a text beyond its end is looked at, since a personal piece may begin before the end."""
LEAST_DIGITS, LONGEST_BITS = 5, 64
"""A whole number of fewer digits, or of more bits, names nobody, whatever its field is called."""

_SECRET_WORDS = {
    "password",
    "passwd",
    "pwd",
    "secret",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "credentials",
}
_SECRET_PAIRS = [
    frozenset(pair.split()) for pair in ("api key", "access key", "private key", "auth token", "set cookie")
]
_TOKEN_LETTERS = 8
"""A shorter token is one of a language model's."""

_HINT = re.compile(
    r"(?i)passw|pwd|secret|key|token|authoriz|cookie|credential|bearer|basic|://|eyJ|AKIA|ASIA|AIza|[_-]"
)
_NAMED = re.compile(
    r"(?i)(?:passwords?|passwd|pwd|secrets?|api[_-]?keys?|access[_-]?keys?|credentials?)[\"']?\s{0,3}(?:[:=]>?)\s{0,3}"
    r"(?P<secret>\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',;&)}\]]+)"
    r"|(?:tokens?)[\"']?\s{0,3}(?:[:=]>?)\s{0,3}[\"']?(?P<token>[^\s\"',;&)}\]]{8,})"
    r"|(?:authorization|cookie)[\"']?\s{0,3}(?:[:=])\s{0,3}(?P<header>[^\n\"'}]+)"
)
_SHAPED = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=://)[^\s/:@\"']*:[^\s/@\"']+(?=@)"
    r"|(?i:(?<=\bbearer )|(?<=\bbasic ))[A-Za-z0-9._~+/=-]{8,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bAIza[\w-]{35}"
    r"|\b(?:gh[opsur]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-|npm_|pypi-)[\w-]{16,}"
)


class Mask:
    """Masks texts and named values; equal personal values get equal pseudonyms under one key.

    Args:
        key: of the pseudonyms, at most 64 bytes; one that ends with the process when left out.
        more: masks a text further, such as the values of a table's personal columns.
    """

    def __init__(self, key: bytes = SALT, more: Callable[[str], str] | None = None) -> None:
        self.key, self.more = key, more

    def text(self, text: str, most: int) -> str:
        """The first `most` letters of a text, masked: a piece that begins among them is masked as a whole."""
        looked_at = without_secrets(encodable(text[: most + MARGIN]))
        if self.more is not None:
            looked_at = self.more(looked_at)
        left = len(text) - most
        if left > 0:  # what was shortened draws in the end of what was looked at, where a piece may be cut in two
            most = min(most, max(0, len(looked_at) - MARGIN // 2))
        masked = replaced(looked_at, lambda kind, piece: pseudonym(kind, piece, self.key), most)
        return f"{masked}… ({left} letters more)" if left > 0 else masked

    def named(self, name: str, value: object) -> str | None:
        """What stands for a value that its name says to be secret or personal; None for any other."""
        if isinstance(value, bool | float) or value is None:
            return None
        short = isinstance(value, int) and value.bit_length() <= LONGEST_BITS  # Python refuses to show longer ones
        text = str(value) if isinstance(value, str) or short else ""
        if is_secret(name, text, value):
            return SECRET
        kind = kind_by_name(name) if text else None
        number = isinstance(value, int) and len(text) < LEAST_DIGITS
        return None if kind is None or number else pseudonym(kind, text, self.key)


def is_secret(name: str, text: str, value: object) -> bool:
    """Whether a field's name says that it opens a door; how many tokens there were does not."""
    words = tokens_of(name)
    if isinstance(value, int):
        return bool(words & {"password", "passwd", "pwd", "secret"})
    if words & _SECRET_WORDS or any(pair <= words for pair in _SECRET_PAIRS):
        return True
    return "token" in words and len(text) >= _TOKEN_LETTERS


def without_secrets(text: str) -> str:
    """A text without passwords, keys, tokens and logins in addresses."""
    if not _HINT.search(text):
        return text
    return _SHAPED.sub(SECRET, _NAMED.sub(_without_value, text))


def _without_value(found: re.Match[str]) -> str:
    start, end = found.span(found.lastgroup or 0)
    if found.group(found.lastgroup or 0).isdigit() and found.lastgroup == "token":
        return found.group()
    return found.string[found.start() : start] + SECRET + found.string[end : found.end()]
