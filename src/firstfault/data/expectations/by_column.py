"""Great Expectations' pandas engine, one column at a time.

The engine copies the whole frame for every metric, so that 23 columns cost 23 times what one costs. Here every
expectation sees only the columns that it names, and gets what the engine gives for the whole table:

    table shape (row count, names of columns)   a frame of the same shape that holds nothing
    nulls and sets of a text column             the column as a category: the engine looks at each distinct value once
    type of a column of nothing but text        its distinct values; the counts are those of the column
    anything else                               the columns that it names, or all where it names none or has a condition
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from firstfault.data.expectations.suite import great_expectations
from firstfault.data.expectations.table import Table, is_text
from firstfault.interrupts import pass_on
from firstfault.metrics import Array
from firstfault.texts import as_written
from firstfault.values import Json

if TYPE_CHECKING:
    import great_expectations as gx
    from great_expectations.core.batch_definition import BatchDefinition
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent.interfaces import Batch


Entry = Json
"""An expectation as a suite's JSON has it."""
Result = dict[str, Any]
"""What Great Expectations says of one expectation or of a suite, as JSON."""

SHAPE_ONLY = frozenset(
    {
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
        "expect_table_columns_to_match_set",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_column_to_exist",
    }
)
SAME_ON_CATEGORIES = frozenset(
    {
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_be_null",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_not_be_in_set",
    }
)
TYPES = frozenset({"expect_column_values_to_be_in_type_list", "expect_column_values_to_be_of_type"})
PLACE = "place"
FEW = 0.5
"""Distinct values are worth looking at apart when they are fewer than this share of the rows."""


def run_by_column(table: Table, suite: gx.ExpectationSuite, form: str) -> Result:
    """The result of validating `table`, as Great Expectations' JSON: `form` is its result format, such as SUMMARY."""
    return merged(suite.name, by_column(table, numbered(suite.to_json_dict()["expectations"]), form))


def by_column(table: Table, entries: Sequence[Entry], form: str) -> Iterator[Result]:
    """The results of numbered expectations on `table`, in any order."""
    for together in _by_columns(entries, table).values():
        yield from _run(table, together, form)


def numbered(entries: Sequence[Entry]) -> list[Entry]:
    """The expectations with their place in the suite in their meta data, since the engine reorders them."""
    return [{**entry, "meta": {**(entry.get("meta") or {}), PLACE: place}} for place, entry in enumerate(entries)]


def merged(name: str, results: Iterable[Result]) -> Result:
    """Results of numbered expectations, in the order of their suite."""
    ordered = sorted(results, key=lambda result: result["expectation_config"]["meta"][PLACE])
    for result in ordered:
        del result["expectation_config"]["meta"][PLACE]
    met = sum(bool(result["success"]) for result in ordered)
    statistics = {
        "evaluated_expectations": len(ordered),
        "successful_expectations": met,
        "unsuccessful_expectations": len(ordered) - met,
    }
    return {"suite_name": name, "success": met == len(ordered), "statistics": statistics, "results": ordered}


def _by_columns(entries: Sequence[Entry], table: Table) -> dict[tuple[str, ...] | None, list[Entry]]:
    """The expectations by the columns that they need; None stands for the table's shape."""
    groups: dict[tuple[str, ...] | None, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_columns_of(entry, table), []).append(entry)
    return groups


def _columns_of(entry: Entry, table: Table) -> tuple[str, ...] | None:
    kwargs = entry["kwargs"]
    if entry["type"] in SHAPE_ONLY:
        return None
    named = [kwargs[key] for key in ("column", "column_A", "column_B") if kwargs.get(key)] + list(
        kwargs.get("column_list") or ()
    )
    if not named or kwargs.get("row_condition"):
        return tuple(table.names)
    known = tuple(dict.fromkeys(name for name in named if name in table.names))
    return known if len(known) == len(set(named)) else None  # the engine itself says that a column is absent


def _run(table: Table, entries: list[Entry], form: str) -> Iterator[Result]:
    columns = _columns_of(entries[0], table)
    if columns is None:
        yield from _validated(_shape_of(table), entries, form)
    elif len(columns) == 1 and form != "COMPLETE" and is_text(values := table.column(columns[0])):
        yield from _text(values, entries, form)
    else:
        yield from _validated(table.frame(columns), entries, form)


def _shape_of(table: Table) -> pd.DataFrame:
    nothing = np.broadcast_to(np.int8(0), (len(table), len(table.names)))
    return pd.DataFrame(nothing, columns=table.names, copy=False)


def _text(values: pd.Series, entries: list[Entry], form: str) -> Iterator[Result]:
    frame = values.to_frame()
    codes, known = pd.factorize(values)
    if len(known) > FEW * len(values):
        yield from _validated(frame, entries, form)
        return
    sets = [entry for entry in entries if entry["type"] in SAME_ON_CATEGORIES]
    kinds = [entry for entry in entries if entry["type"] in TYPES]
    as_category = pd.DataFrame({values.name: pd.Categorical.from_codes(codes, categories=known)})
    yield from _validated(as_category, sets, form)
    yield from _types(frame, known, kinds, form)
    yield from _validated(frame, [entry for entry in entries if entry not in kinds and entry not in sets], form)


def _types(frame: pd.DataFrame, known: pd.Index | Array, entries: list[Entry], form: str) -> Iterator[Result]:
    """A type that all distinct values have is that of all values; otherwise every value is counted."""
    met = []
    for result in _validated(pd.DataFrame({frame.columns[0]: known}, dtype=object), entries, form):
        if result["success"] and not result["result"].get("unexpected_count"):
            met.append(result["expectation_config"]["meta"][PLACE])
            yield {**result, "result": {**result["result"], **_counts(frame.iloc[:, 0])}}
    yield from _validated(frame, [entry for entry in entries if entry["meta"][PLACE] not in met], form)


def _counts(values: pd.Series) -> Mapping[str, object]:
    missing = int(values.isna().sum())
    return {
        "element_count": len(values),
        "missing_count": missing,
        "missing_percent": 100 * missing / len(values) if len(values) else None,
    }


def _validated(frame: pd.DataFrame, entries: list[Entry], form: str) -> list[Result]:
    if not entries:
        return []
    return results_of(_batch(frame), entries, form)


def _batch(frame: pd.DataFrame) -> Batch:
    """A batch of a frame, which Great Expectations hashes; what has no hash there is validated as text."""
    try:
        return _pandas_engine().get_batch(batch_parameters={"dataframe": frame})
    except BaseException as error:
        pass_on(error)
        return _pandas_engine().get_batch(batch_parameters={"dataframe": frame.apply(as_written)})


def results_of(batch: Batch, entries: list[Entry], form: str) -> list[Result]:
    """What Great Expectations says of a batch, an entry per expectation, as plain values."""
    suite = great_expectations().ExpectationSuite(name="columns", expectations=[dict(entry) for entry in entries])
    results = json.loads(json.dumps(batch.validate(suite, result_format=form).to_json_dict(), default=str))["results"]
    for result in results:
        result["expectation_config"]["kwargs"].pop("batch_id", None)
    return results


@functools.cache
def _pandas_engine() -> BatchDefinition:
    asset = quiet_context().data_sources.add_pandas("firstfault").add_dataframe_asset("table")
    return asset.add_batch_definition_whole_dataframe("rows")


def quiet_context() -> EphemeralDataContext:
    """A context of Great Expectations that lives in memory and prints nothing."""
    context = great_expectations().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context
