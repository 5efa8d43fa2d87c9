"""A file of SQLite: statements with many rows in one transaction, and any number of writers."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Values = Mapping[str, Any]
WAIT_SECONDS = 10.0


class Sqlite:
    """A database in one file, which others may write to as well; only its owner can read it."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._connection = sqlite3.connect(file, timeout=WAIT_SECONDS, isolation_level=None)
        file.chmod(0o600)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is read and written within is before what others write, or after it; one within is its part."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise

    def write(self, steps: Iterable[tuple[str, Sequence[Values]]]) -> None:
        """Execute statements with their rows in one transaction."""
        with self.transaction():
            for statement, rows in steps:
                self._connection.executemany(statement, rows)

    def rows(self, statement: str, values: Values) -> list[tuple[Any, ...]]:
        """What a query gives."""
        return self._connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
