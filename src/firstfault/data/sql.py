"""Samples that an SQL query returns, from anything that SQLAlchemy reaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.errors import PrerequisiteError, TargetError
from firstfault.extras import missing_extra, needs_extra
from firstfault.target.validation import expect

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy


@dataclass(frozen=True)
class Sql:
    """Samples that an SQL query returns. `url` is an SQLAlchemy database URL; its password is never shown."""

    url: str = field(repr=False)
    query: str

    def __post_init__(self) -> None:
        expect(
            isinstance(self.url, str) and ":" in self.url,
            "Sql.url",
            self.place,
            "a database URL such as sqlite:///rows.db",
        )
        expect(isinstance(self.query, str) and bool(self.query.strip()), "Sql.query", self.query, "a query")

    def __str__(self) -> str:
        return f"sql:{self.query}"

    @property
    def place(self) -> str:
        """The database's URL without its password."""
        try:
            from sqlalchemy import make_url
            from sqlalchemy.exc import ArgumentError
        except ModuleNotFoundError:
            return self.without_password(str(self.url))
        try:
            return make_url(self.url).render_as_string(hide_password=True)
        except (ArgumentError, ValueError):
            return self.without_password(str(self.url))

    def without_password(self, text: str) -> str:
        """A text with this URL's password, as it is and as it is quoted in the URL, made unreadable."""
        from urllib.parse import unquote

        password = str(self.url).partition("://")[2].rpartition("@")[0].partition(":")[2]
        for secret in {password, unquote(password)} - {""}:
            text = text.replace(secret, "***")
        return text


def read_sql(source: Sql, name: str, root: Path) -> pd.DataFrame:
    """The result of a query, sent as it is; decimals become floats.

    Raises:
        TargetError: when the database or the query fails, without the password.
        PrerequisiteError: when the database's driver is not installed.
    """
    import pandas as pd

    try:
        import sqlalchemy
    except ModuleNotFoundError as error:
        raise needs_extra("sqlalchemy", f"data.{name}: reading {source.place}") from error
    try:
        engine = sqlalchemy.create_engine(database_url(source, name, root))
    except ModuleNotFoundError as error:
        reading = f"data.{name}: reading {source.place}"
        raise missing_extra(error, reading) or PrerequisiteError(
            f"{reading} needs {error.name}, which is not installed"
        ) from error
    except sqlalchemy.exc.ArgumentError as error:
        raise TargetError(f"data.{name} must have the URL of a database, but {source.place} is none") from error
    try:
        with engine.connect().execution_options(no_parameters=True) as connection:
            return pd.read_sql_query(source.query, connection)
    except Exception as error:
        raise TargetError(
            f"data.{name}: the query on {source.place} failed: {source.without_password(_reason(error))}"
        ) from error
    finally:
        engine.dispose()


def database_url(source: Sql, name: str, root: Path) -> sqlalchemy.URL:
    """The URL; the file of an SQLite database is looked up beside the target, and not created.

    Raises:
        TargetError: when there is no such file.
    """
    import sqlalchemy

    url = sqlalchemy.make_url(source.url)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:" or url.query:
        return url
    path = root / url.database
    if not path.is_file():
        raise TargetError(f"data.{name}: there is no file {path}")
    return url.set(database=str(path))


def _reason(error: Exception) -> str:
    """What the driver says, in one line."""
    text = str(getattr(error, "orig", None) or error).strip()
    return " ".join(text.splitlines()[0].split()) if text else type(error).__name__
