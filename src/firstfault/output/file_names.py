"""Names of files and keys from names that users give: on any system, in the folder they are meant for, and one for
each.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

MOST_BYTES = 120
"""A part of a path may have 255 bytes; a suffix, and what is made beside it while it is written, must fit too."""
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(\..*)?", re.IGNORECASE)


def file_name(name: str) -> str:
    """A name as the stem of a file: as it is where every system allows that, else with what is not allowed replaced,
    and its hash.

    No folder, no hidden file, no device of Windows, at most 120 bytes; two names never become the same.
    """
    kept = re.sub(r"[^\w .,()+-]+", "_", unicodedata.normalize("NFC", name).encode("utf-8", "replace").decode())
    kept = re.sub(r"\.{2,}", "_", kept).strip(" .")
    if DEVICES.fullmatch(kept):
        kept = f"_{kept}"
    if kept == name and len(kept.encode()) <= MOST_BYTES:
        return kept
    short = kept.encode()[: MOST_BYTES - 9].decode(errors="ignore").strip(" ._")
    return f"{short or 'unnamed'}-{_hash(name)}"


def key_of(name: str) -> str:
    """A name in the small letters, digits and hyphens that ids of events and models allow."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return plain[:MOST_BYTES].strip("-") or f"target-{_hash(name)}"


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
