"""A table in a database is validated there, with the results that its rows give."""

import numpy as np
import pandas as pd
import pytest
import sqlalchemy

from firstfault import Sql
from firstfault.data.expectations.by_column import run_by_column
from firstfault.data.expectations.in_database import InDatabase, database_of
from firstfault.data.expectations.suite import infer_suite
from firstfault.data.expectations.table import Table


def people(n=600, seed=0):
    """Numbers, whole numbers, categories and a label."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "income": rng.lognormal(10, 0.4, n),
            "city": rng.choice(["Bern", "Oslo", "Rome"], n),
            "kind": rng.integers(0, 2, n),
        }
    )


def spoiled(n=600):
    """Nulls, values out of range, a new category, a column that is gone and one that is new."""
    frame = people(n, seed=1)
    frame.loc[::50, "income"] = None
    frame.loc[::100, "age"] = 900
    frame.loc[::60, "city"] = "Atlantis"
    return frame.assign(site="A")


@pytest.fixture
def stored(tmp_path):
    """A function that writes a frame into a SQLite file: the query of all its rows."""

    def store(frame, name="rows"):
        url = f"sqlite:///{tmp_path}/data.db"
        frame.to_sql(name, sqlalchemy.create_engine(url), index=False)
        return Sql(url, f"SELECT * FROM {name};")

    return store


def outcome(result):
    """By expectation and column: success, and how many values are unexpected."""
    return [
        (
            entry["expectation_config"]["type"],
            entry["expectation_config"]["kwargs"].get("column"),
            entry["success"],
            entry["result"].get("unexpected_count"),
        )
        for entry in result["results"]
    ]


@pytest.mark.parametrize("make_rows", [people, spoiled])
def test_sqlite_gives_the_results_of_the_rows(stored, make_rows, tmp_path):
    """Every expectation has the same success and count in the database as on the rows."""
    suite, rows = infer_suite(Table([people()]), "s"), make_rows()
    assert outcome(InDatabase([stored(rows)], tmp_path)(Table([rows]), suite, "SUMMARY")) == outcome(
        run_by_column(Table([rows]), suite, "SUMMARY")
    )


def test_queries_of_one_database_count_as_one_table(stored, tmp_path):
    """Train and test lie in two tables; the row count is that of both."""
    first, second = stored(people(400), "a"), stored(people(200, seed=3), "b")
    suite = infer_suite(Table([people()]), "s")
    result = database_of([first, second], tmp_path)(Table([people(400), people(200, seed=3)]), suite, "SUMMARY")
    counts = [
        entry["result"]["observed_value"]
        for entry in result["results"]
        if "row_count" in entry["expectation_config"]["type"]
    ]
    assert counts == [600]


def test_data_of_several_places_are_validated_as_rows(stored, tmp_path):
    """There is no one database to ask."""
    assert database_of([stored(people()), people()], tmp_path) is None
    assert database_of([Sql("sqlite:///a.db", "q"), Sql("sqlite:///b.db", "q")], tmp_path) is None
    assert database_of([people()], tmp_path) is None


HOSTILE = ["'; DROP TABLE rows; --", ":name", "100%s", 'a"b\\', "%(x)s"]


@pytest.mark.parametrize(
    "query", ["SELECT * FROM rows", "SELECT * FROM rows -- all of them", "SELECT * FROM rows WHERE 'a :b' <> '50% %s'"]
)
@pytest.mark.parametrize("times", [1, 2])
def test_names_and_values_are_no_sql(stored, tmp_path, query, times):
    """Columns and categories with quotes, colons, per cents and comments give the results of the rows, in queries that
    have them too.
    """
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            'x"; DROP TABLE rows; --': rng.choice(HOSTILE, 600),
            "50% :x": rng.normal(size=600),
            "it's": rng.integers(0, 2, 600),
            "[m](x)": rng.integers(0, 3, 600),
        }
    )
    suite, source = infer_suite(Table([rows]), "s"), Sql(stored(rows).url, query)
    spoilt = pd.concat([rows] * times, ignore_index=True)
    found = InDatabase([source] * times, tmp_path)(Table([spoilt]), suite, "SUMMARY")
    assert outcome(found) == outcome(run_by_column(Table([spoilt]), suite, "SUMMARY"))
    assert all(entry["success"] for entry in found["results"])
