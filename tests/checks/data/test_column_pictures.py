"""The overview of the columns: what it lists, draws and keeps to itself."""

import numpy as np
import pandas as pd
import pytest

from firstfault.finding import Status


def people(rows=300):
    """A table with gaps that come together, and personal columns."""
    rng = np.random.default_rng(0)
    gaps = rng.random(rows) < 0.2
    return pd.DataFrame(
        {
            "age": np.where(gaps, np.nan, rng.integers(20, 60, rows)),
            "city": np.where(gaps, None, rng.choice(["Bern", "Oslo"], rows)),
            "email": [f"p{row}@mail.org" for row in range(rows)],
            "note": [[row] for row in range(rows)],
            "y": rng.choice(["a", "b"], rows, p=[0.8, 0.2]),
        }
    )


def test_columns_are_listed_and_drawn(make, only, drawn):
    """Kind, missing share, distinct values, range or commonest values; and a picture each of classes and gaps."""
    subject = make(people(), label="y")
    found = only("column_overview", subject)
    lines = pd.read_csv(subject.folder / "columns.csv").set_index("column")
    assert found.status is Status.PASS and found.artifacts == ("class_balance.svg", "columns.csv", "missing_values.svg")
    assert lines.loc["age", "missing"] == pytest.approx(subject.raw.train.X["age"].isna().mean(), abs=1e-4)
    assert (
        lines.loc["age", "min"] >= 20
        and "Oslo" in lines.loc["city", "commonest"]
        and lines.loc["city", "distinct"] == 2
    )
    balance, size = drawn(subject, "class_balance.svg")
    missing, larger = drawn(subject, "missing_values.svg")
    assert {"a", "b", "share of the rows of the split"} <= set(balance) and any(
        text.startswith("train (") for text in balance
    )
    assert {"age", "city", "0 %", "train", "validation", "test"} <= set(missing) and max(size, larger) < 40_000


def test_no_personal_value_is_listed(make, only):
    """The e-mail column is named, its values are not."""
    subject = make(people(), label="y")
    only("column_overview", subject)
    text = (subject.folder / "columns.csv").read_text()
    assert "@" not in text and "e-mail •••" in text


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("diabetes", {"columns.csv"}),
        ("images", {"class_balance.svg"}),
        ("multilabel", {"class_balance.svg", "columns.csv"}),
        ("iris", {"class_balance.svg", "columns.csv"}),
    ],
)
def test_what_there_is_is_shown(make, only, source, files):
    """Numbers have no classes, images no columns."""
    assert set(only("column_overview", make(source)).artifacts) == files
