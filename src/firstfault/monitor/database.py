"""Counts, losses, labels and incidents, and what others were told of them, in SQLite or in another database by its URL.

Counts are of all requests, kept or not. They only add up, so that any number of writers share one database; how far a
writer has come is noted in the same transaction, so that none is counted twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from firstfault.errors import FirstfaultError
from firstfault.extras import expect_installed
from firstfault.monitor.settings import Settings
from firstfault.output.sqlite import Sqlite, Values

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS counts (
        minute BIGINT, model TEXT, version TEXT, arm TEXT, name TEXT, n BIGINT,
        PRIMARY KEY (minute, model, version, arm, name))""",
    "CREATE TABLE IF NOT EXISTS losses (hour BIGINT, writer TEXT, cause TEXT, n BIGINT, "
    "PRIMARY KEY (hour, writer, cause))",
    "CREATE TABLE IF NOT EXISTS progress (writer TEXT PRIMARY KEY, position BIGINT, time DOUBLE PRECISION)",
    "CREATE TABLE IF NOT EXISTS labels (request_id TEXT PRIMARY KEY, label TEXT, time DOUBLE PRECISION)",
    "CREATE TABLE IF NOT EXISTS held (raw TEXT PRIMARY KEY, incident TEXT)",
    "CREATE TABLE IF NOT EXISTS incidents (id TEXT PRIMARY KEY, model TEXT, opened DOUBLE PRECISION, document TEXT)",
    """CREATE TABLE IF NOT EXISTS totals (
        model TEXT, version TEXT, arm TEXT, name TEXT, n BIGINT, since BIGINT, last BIGINT,
        PRIMARY KEY (model, version, arm, name))""",
    "CREATE TABLE IF NOT EXISTS beats (writer TEXT PRIMARY KEY, time DOUBLE PRECISION, lag DOUBLE PRECISION)",
    """CREATE TABLE IF NOT EXISTS exported (receiver TEXT, writer TEXT, position BIGINT, time DOUBLE PRECISION,
        PRIMARY KEY (receiver, writer))""",
    """CREATE TABLE IF NOT EXISTS alerts (incident TEXT, word TEXT, receiver TEXT, tries BIGINT, due DOUBLE PRECISION,
        claim TEXT, state TEXT, PRIMARY KEY (incident, word, receiver))""",
    "CREATE TABLE IF NOT EXISTS undelivered (what TEXT PRIMARY KEY, n BIGINT)",
)
COUNT = """INSERT INTO counts (minute, model, version, arm, name, n)
    VALUES (:minute, :model, :version, :arm, :name, :n)
    ON CONFLICT (minute, model, version, arm, name) DO UPDATE SET n = counts.n + excluded.n"""
TOTAL = """INSERT INTO totals (model, version, arm, name, n, since, last)
    VALUES (:model, :version, :arm, :name, :n, :since, :last)
    ON CONFLICT (model, version, arm, name) DO UPDATE SET n = totals.n + excluded.n,
        last = CASE WHEN excluded.last > totals.last THEN excluded.last ELSE totals.last END"""
"""What was counted ever: it only grows, also when counts are removed that are too old."""
LOSE = """INSERT INTO losses (hour, writer, cause, n) VALUES (:hour, :writer, :cause, :n)
    ON CONFLICT (hour, writer, cause) DO UPDATE SET n = losses.n + excluded.n"""
GET_ON = """INSERT INTO progress (writer, position, time) VALUES (:writer, :position, :time)
    ON CONFLICT (writer) DO UPDATE SET position = excluded.position, time = excluded.time"""
BEAT = """INSERT INTO beats (writer, time, lag) VALUES (:writer, :time, :lag)
    ON CONFLICT (writer) DO UPDATE SET time = excluded.time, lag = excluded.lag"""
LABEL = """INSERT INTO labels (request_id, label, time) VALUES (:request_id, :label, :time)
    ON CONFLICT (request_id) DO UPDATE SET label = excluded.label, time = excluded.time"""
HOLD = """INSERT INTO held (raw, incident) VALUES (:raw, :incident)
    ON CONFLICT (raw) DO UPDATE SET incident = excluded.incident"""


class StoreError(Exception):
    """The database doesn't answer, or takes nothing."""


class Database:
    """One store's database; it is connected when it is first used, and anew after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.database
        self._file = settings.folder / "monitor.db"
        self._connection: Sqlite | _BySqlalchemy | None = None

    def write(self, steps: Iterable[tuple[str, Sequence[Values]]]) -> None:
        """Execute statements with their rows in one transaction.

        Raises:
            StoreError: when that can't be done; nothing of it is done then.
        """
        with self._guarded() as connection:
            connection.write(steps)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """What a query gives.

        Raises:
            StoreError: when that can't be done.
        """
        with self._guarded() as connection:
            return connection.rows(statement, values)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[Sqlite | _BySqlalchemy]:
        try:
            if self._connection is None:
                self._connection = _by_url(self._url) if self._url else Sqlite(self._file)
                self._connection.write([(statement, [{}]) for statement in SCHEMA])
            yield self._connection
        except FirstfaultError:
            raise
        except Exception as error:  # each driver has errors of its own
            self.close()
            raise StoreError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()


class _BySqlalchemy:
    """A database behind SQLAlchemy."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def write(self, steps: Iterable[tuple[str, Sequence[Values]]]) -> None:
        from sqlalchemy import text

        with self._engine.begin() as connection:
            for statement, rows in steps:
                if rows:
                    connection.execute(text(statement), [dict(row) for row in rows])

    def rows(self, statement: str, values: Values) -> list[tuple[Any, ...]]:
        from sqlalchemy import text

        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), dict(values))]

    def close(self) -> None:
        self._engine.dispose()


def _by_url(url: str) -> _BySqlalchemy:
    expect_installed("sqlalchemy", "a monitor's database by URL")
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError

    try:
        return _BySqlalchemy(create_engine(url, pool_pre_ping=True))
    except (ArgumentError, ModuleNotFoundError) as error:
        raise FirstfaultError(
            "a monitor's database must be the URL of one that SQLAlchemy knows and whose driver is installed, as "
            f"postgresql+psycopg2://user@host/name, but: {error}"
        ) from error
