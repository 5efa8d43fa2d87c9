"""New data: which contents of a path, a glob or an SQL query have not been seen before."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firstfault.data.sql import Sql
from firstfault.errors import TargetError
from firstfault.output.whole_files import write_json

CHUNK = 1 << 20
"""Bytes that are read at once."""


@dataclass(frozen=True)
class Content:
    """One data set as it is now: where it is, and the SHA-256 of its content."""

    uri: str
    digest: str


def new_contents(source: str, memory: Path, *, query: str | None = None) -> list[Content]:
    """The contents that `memory` does not hold yet; they are remembered by `remember`.

    Args:
        source: a path, a glob of paths, or the URL of a database when `query` is given.
        memory: the JSON file that holds the digests seen, by source.
        query: an SQL query whose result is the content.

    Raises:
        TargetError: when the query fails.
    """
    known = _read(memory)
    found = [_query(source, query)] if query else list(_files(source))
    return [content for content in found if content.digest not in known.get(content.uri, [])]


def remember(content: Content, memory: Path) -> None:
    """Note a content as seen, so that it is not new again."""
    known = _read(memory)
    known.setdefault(content.uri, []).append(content.digest)
    memory.parent.mkdir(parents=True, exist_ok=True)
    write_json(memory, known)


def _files(pattern: str) -> Iterator[Content]:
    for path in sorted(map(Path, glob.glob(pattern, recursive=True))):  # noqa: PTH207 (an absolute pattern)
        if path.is_file():
            yield Content(str(path.resolve()), _digest(path))


def _digest(path: Path) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def _query(url: str, query: str) -> Content:
    import sqlalchemy

    source, sha = Sql(url, query), hashlib.sha256()
    try:
        with sqlalchemy.create_engine(url).connect().execution_options(no_parameters=True) as connection:
            for row in connection.exec_driver_sql(query):
                sha.update(repr(tuple(row)).encode())
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise TargetError(
            f"the query of the watched source failed: {source.without_password(str(error).splitlines()[0])}"
        ) from error
    return Content(str(source), sha.hexdigest())


def _read(memory: Path) -> dict[str, list[str]]:
    try:
        return json.loads(memory.read_text())
    except (OSError, json.JSONDecodeError):
        return {}
