"""Names in place of personal values, equal for equal values: what is counted or followed needs no more."""

from __future__ import annotations

import hashlib
import secrets

from firstfault.texts import shown

SALT = secrets.token_bytes(16)
"""A secret that ends with the process."""


def pseudonym(kind: str, value: object, key: bytes = SALT) -> str:
    """A name for a personal value that tells nothing of it to whoever lacks the key, of at most 64 bytes."""
    return f"{kind} •{hashlib.blake2b(shown(value, str).encode(), key=key, digest_size=5).hexdigest()}"
