"""A table for a spreadsheet has no cell that is a formula, and all its numbers."""

import numpy as np
import pandas as pd
import pytest

from firstfault.output.spreadsheets import as_text, write_frame, write_rows


@pytest.mark.parametrize(
    "text", ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", "\rx", "\n=1", " =1", "＝1", "-1000x", "=", "--1"]
)
def test_a_text_that_begins_like_a_formula_is_marked_as_text(text):
    """An apostrophe before it makes a spreadsheet show it."""
    assert as_text(text) == f"'{text}"


@pytest.mark.parametrize(
    "value", ["-1000", "+3.5e-4", "-1,000.50", "-12 %", -1000, -0.5, None, True, "fine", "a=b", "", "1-2"]
)
def test_numbers_and_other_texts_stay_as_they_are(value):
    """Negative numbers stay numbers, also those that were read as text."""
    assert as_text(value) is value


class Shown:
    """A value of the user's that writes itself as a formula."""

    def __iter__(self):
        return iter(())

    def __str__(self):
        return "=1+1"


def test_every_column_of_a_frame_is_safe(tmp_path):
    """Headings, texts, categories and other values are marked; numbers, times and missing values are not."""
    frame = pd.DataFrame(
        {
            "=h": ["=1", "x"],
            "kind": pd.Categorical(["-a", "-a"]),
            "own": pd.array(["@a", None], dtype="string"),
            "n": [-1000, 2],
            "f": [-0.5, np.nan],
            "mixed": [Shown(), -3],
            "whole": pd.Series([1, None], dtype=object),
            "lists": [["=a"], [1, 2]],
            "when": pd.to_datetime(["2020-01-01", "2021-01-01"]),
        }
    )
    frame.insert(3, "=h", ["+z", "z"], allow_duplicates=True)
    write_frame(tmp_path / "a.csv", frame)
    assert (tmp_path / "a.csv").read_text().splitlines() == [
        "'=h,kind,own,'=h,n,f,mixed,whole,lists,when",
        "'=1,'-a,'@a,'+z,-1000,-0.5,'=1+1,1,['=a'],2020-01-01",
        'x,\'-a,,z,2,,-3,,"[1, 2]",2021-01-01',
    ]
    assert frame.columns[0] == "=h" and frame.iloc[0, 0] == "=1"


def test_rows_are_safe(tmp_path):
    """Heading and cells of a list of rows are marked, and a lone surrogate is written as its escape."""
    write_rows(tmp_path / "b.csv", ["=h", "n"], [["=1", -1], ["\ud800", 2.5]])
    assert (tmp_path / "b.csv").read_text(encoding="utf-8").splitlines() == ["'=h,n", "'=1,-1", "\\ud800,2.5"]
