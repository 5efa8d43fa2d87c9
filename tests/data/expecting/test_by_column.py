"""Validating column by column gives what Great Expectations gives for the whole frame."""

import json

import numpy as np
import pandas as pd
import pytest

from firstfault.data.expectations.by_column import numbered, quiet_context, results_of, run_by_column
from firstfault.data.expectations.suite import great_expectations, infer_suite
from firstfault.data.expectations.table import Table


def clean(n=400, seed=0):
    """Numbers, whole numbers, text of few and of many values, dates, truth values."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "count": rng.integers(0, 50, n),
            "city": rng.choice(["Bern", "Oslo", "Rome"], n),
            "name": [f"person {number}" for number in range(n)],
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "member": rng.random(n) > 0.5,
        }
    )


def dirty(n=400):
    """The same columns with every kind of defect, and a mixed one."""
    frame = clean(n, seed=1)
    frame.loc[::9, "x"] = np.nan
    frame.loc[::31, "x"] = 1e6
    frame.loc[::13, "city"] = "Atlantis"
    frame.loc[::17, "city"] = None
    frame.loc[::21, "name"] = "twin"
    frame["count"] = frame["count"].astype(str)
    frame["mixed"] = [1, "1", None, 2.5] * (n // 4)
    frame["empty"] = None
    return frame.drop(columns="member")


HAND_WRITTEN = [
    {"type": "expect_column_values_to_be_of_type", "kwargs": {"column": "city", "type_": "str"}},
    {"type": "expect_column_values_to_be_in_type_list", "kwargs": {"column": "city", "type_list": ["int", "float"]}},
    {
        "type": "expect_column_values_to_be_in_type_list",
        "kwargs": {"column": "mixed", "type_list": ["str"], "mostly": 0.2},
    },
    {"type": "expect_column_values_to_not_be_in_set", "kwargs": {"column": "city", "value_set": ["Atlantis"]}},
    {"type": "expect_column_values_to_be_null", "kwargs": {"column": "city", "mostly": 0.01}},
    {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "city", "regex": "^[A-R]"}},
    {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "city", "min_value": 4, "max_value": 4}},
    {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "x", "min_value": -1, "max_value": 1}},
    {"type": "expect_column_unique_value_count_to_be_between", "kwargs": {"column": "city", "max_value": 3}},
    {"type": "expect_column_most_common_value_to_be_in_set", "kwargs": {"column": "city", "value_set": ["Bern"]}},
    {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "city", "column_B": "name"}},
    {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["city", "name"]}},
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "gone"}, "severity": "warning"},
    {"type": "expect_column_to_exist", "kwargs": {"column": "gone"}},
    {"type": "expect_table_column_count_to_equal", "kwargs": {"value": 6}},
    {
        "type": "expect_table_columns_to_match_ordered_list",
        "kwargs": {"column_list": ["x", "count", "city", "name", "since", "member"]},
    },
    {
        "type": "expect_column_values_to_be_between",
        "kwargs": {
            "column": "x",
            "min_value": -9,
            "max_value": 9,
            "row_condition": 'city=="Bern"',
            "condition_parser": "pandas",
        },
    },
]


def on_the_whole_frame(frame, suite, form):
    """The engine as it comes: all columns at once."""
    asset = quiet_context().data_sources.add_pandas("whole").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("rows").get_batch(batch_parameters={"dataframe": frame})
    return results_of(batch, numbered(suite.to_json_dict()["expectations"]), form)


def comparable(results):
    """By expectation: success and every number and value of the result, without what names the batch."""
    told = {}
    for entry in results:
        config = {**entry["expectation_config"], "meta": None, "id": None}
        told[json.dumps(config, sort_keys=True)] = (
            entry["success"],
            bool((entry.get("exception_info") or {}).get("raised_exception")),
            entry["result"],
        )
    return told


@pytest.mark.parametrize("form", ["SUMMARY", "COMPLETE"])
@pytest.mark.parametrize("make", [clean, dirty])
def test_every_result_is_that_of_the_whole_frame(make, form):
    """Success, counts, shares, examples and rows are equal for inferred and hand-written expectations, on clean and on
    broken rows.
    """
    inferred = infer_suite(Table([clean()]), "s").to_json_dict()["expectations"]
    suite = great_expectations().ExpectationSuite(name="s", expectations=[*inferred, *HAND_WRITTEN])
    frame = make()
    ours = comparable(run_by_column(Table([frame]), suite, form)["results"])
    theirs = comparable(on_the_whole_frame(frame, suite, form))
    assert len(ours) == len(inferred) + len(HAND_WRITTEN)
    assert ours == theirs


def test_parts_are_validated_as_one_table():
    """Two halves give the result of the whole."""
    frame = dirty()
    suite = infer_suite(Table([clean()]), "s")
    halves = Table([frame.iloc[:150].reset_index(drop=True), frame.iloc[150:].reset_index(drop=True)])
    assert comparable(run_by_column(halves, suite, "SUMMARY")["results"]) == comparable(
        run_by_column(Table([frame]), suite, "SUMMARY")["results"]
    )


def test_results_come_in_the_order_of_the_suite():
    """The engine reorders what it validates; the result does not."""
    suite = infer_suite(Table([clean()]), "s")
    types = [
        entry["expectation_config"]["type"] for entry in run_by_column(Table([dirty()]), suite, "SUMMARY")["results"]
    ]
    assert types == [entry["type"] for entry in suite.to_json_dict()["expectations"]]
