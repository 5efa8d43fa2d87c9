"""Great Expectations' SQL engine: a table that lives in a database is validated there.

Nulls, ranges, sets, uniqueness, row count and columns are asked of the database. Types, and expectations whose meaning
differs between SQL and rows (a mean over text passes quietly on SQLite, rows with NULL drop out of compound
uniqueness), are validated on the rows as they were read. A NaN in a PostgreSQL float is a number there, and missing in
the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.data.expectations.by_column import Entry, Result, by_column, merged, numbered, quiet_context, results_of
from firstfault.data.expectations.table import Table
from firstfault.data.sql import Sql, database_url

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite


SAME_IN_SQL = frozenset(
    {
        "expect_table_row_count_to_be_between",
        "expect_table_columns_to_match_set",
        "expect_column_to_exist",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_be_unique",
    }
)


class InDatabase:
    """The engine for the rows that queries on one database return, one below the other."""

    def __init__(self, sources: Sequence[Sql], root: Path) -> None:
        self.url = database_url(sources[0], "train", root).render_as_string(hide_password=False)
        queries = [source.query.strip().rstrip(";") for source in sources]
        self.query = queries[0] if len(queries) == 1 else _below_each_other(queries)

    def __call__(self, table: Table, suite: ExpectationSuite, form: str) -> Result:
        """The result of validating the queries' rows; `table` holds the same rows as they were read."""
        entries = numbered(suite.to_json_dict()["expectations"])
        asked = [
            entry for entry in entries if entry["type"] in SAME_IN_SQL and not entry["kwargs"].get("row_condition")
        ]
        rest = [entry for entry in entries if entry not in asked]
        return merged(suite.name, [*self._asked(asked, form), *by_column(table, rest, form)])

    def _asked(self, entries: list[Entry], form: str) -> list[Result]:
        source = quiet_context().data_sources.add_sql("database", connection_string=self.url)
        try:
            batch = source.add_query_asset("rows", query=self.query).add_batch_definition_whole_table("all").get_batch()
            return results_of(batch, entries, form)
        finally:
            source.get_engine().dispose()


def _below_each_other(queries: Sequence[str]) -> str:
    """One query for the rows of several; each ends on a line of its own, since it may end in a comment."""
    return " UNION ALL ".join(f"SELECT * FROM ({text}\n) AS q{place}" for place, text in enumerate(queries))


def database_of(sources: Sequence[object], root: Path) -> InDatabase | None:
    """The engine for data that all come from one database; None when they don't."""
    queries = [source for source in sources if isinstance(source, Sql)]
    if not queries or len(queries) < len(sources) or len({source.url for source in queries}) > 1:
        return None
    return InDatabase(queries, root)
