"""Files that are never seen half written: each is made beside its place, and renamed into it when it is whole.

A full disk, a kill or an error on the way leaves what was there before, and nothing else. What is read by one person's
tools alone has mode 0600; a file that a person asked for by name has the mode that their umask gives, or that it had.
Streams that grow while a loop runs (steps.jsonl, logs of processes) are no such files: half of them is what they are
for.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

DRAFT = ".new-"
PRIVATE, SHARED = 0o600, 0o666
IN_MEMORY = ("dev", "shm")
"""Where files lie below /dev, as on any disk."""


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = True) -> Iterator[Path]:
    """A file with the suffix of `path` to write to, which becomes `path` at the end of the block, or is removed when it
    raises.

    What is no regular file (a device, a pipe) is written to as it is; behind a link, the file that it points to is
    replaced.

    Raises:
        OSError: when the folder can't be written; a block raises its own.
    """
    if _is_stream(path):
        yield path
        return
    path = Path(os.path.realpath(path))
    draft = path.with_name(f"{DRAFT}{token_hex(4)}{path.suffix[-16:]}")
    mode = PRIVATE if private else _mode_of(path)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, SHARED if mode is None else mode))
    try:
        yield draft
        if mode is not None:
            draft.chmod(mode)
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_bytes(path: Path, data: bytes, *, private: bool = True) -> None:
    """Write bytes whole, or not at all."""
    with replacing(path, private=private) as draft, draft.open("wb") as file:
        file.write(data)


def write_text(path: Path, text: str, *, private: bool = True) -> None:
    """Write text as UTF-8 with `\\n`, whole or not at all.

    Half of a surrogate pair, which has no UTF-8, is written as its escape.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"), private=private)


def write_json(path: Path, value: object, *, private: bool = True, indent: int | None = 1, **how: Any) -> None:
    """Write a value as JSON, whole or not at all; `how` goes to `json.dumps`."""
    write_text(path, json.dumps(value, indent=indent, **how), private=private)


def is_draft(path: Path) -> bool:
    """Whether a file is one that was never finished."""
    return path.name.startswith(DRAFT)


def _is_stream(path: Path) -> bool:
    """What `/dev/stdout` points to may be a regular file, and is a stream all the same."""
    below = path.parts[1:3] if path.is_absolute() else ()
    return (below[:1] in (("dev",), ("proc",)) and below != IN_MEMORY) or (
        path.exists() and not path.is_file() and not path.is_dir()
    )


def _mode_of(path: Path) -> int | None:
    """The mode of a file that is there; None where the umask is to say."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
