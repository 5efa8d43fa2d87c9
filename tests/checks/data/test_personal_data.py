"""Personal data in columns and texts: told with kinds and counts, never with values, and no fault."""

import numpy as np
import pandas as pd
import pytest

from firstfault.finding import Status

NOTES = [f"the delivery number {row} arrived in good order and on time" for row in range(60)]


def table(**columns):
    """A table of 60 rows with a label and the given columns."""
    return pd.DataFrame({"size": np.arange(60.0), **columns, "kind": np.arange(60) % 2})


def test_personal_columns_are_named_with_their_kinds(make, only):
    """One warning names both columns; it shows no value and is evidence for no fault."""
    frame = table(
        full_name=[f"Ada Lovelace {row}" for row in range(60)], reach=[f"a{row}@mail.org" for row in range(60)]
    )
    found = only("personal_data", make(frame, label="kind"))
    assert (
        found.status is Status.WARN
        and found.faults == {}
        and "full_name (name •••), reach (e-mail •••)" in found.message
    )
    assert "Ada" not in str(found.to_json()) and "@" not in str(found.to_json())


def test_pieces_in_texts_are_counted_by_kind(make, only):
    """Two of the training rows hold an address; the message counts them."""
    notes = [f"write to me at a{row}@mail.org please" if row < 30 else note for row, note in enumerate(NOTES)]
    found = only("personal_data", make(table(notes=notes), label="kind"))
    assert (
        found.status is Status.WARN
        and str(found.where) == "notes"
        and found.value >= 10
        and "e-mail ••• in" in found.message
    )
    assert "@" not in str(found.to_json())


@pytest.mark.parametrize(
    "frame",
    [
        table(notes=NOTES),
        table(code=[f"4{row:015d}" for row in range(0, 600, 10)]),
        table(version=[f"10.0.{row}.1" for row in range(60)]),
        table(name=["ford pinto", "vw golf"] * 30),
    ],
    ids=["notes", "codes", "versions", "cars"],
)
def test_ordinary_tables_hold_none(make, only, frame):
    """Sentences, codes of sixteen digits, versions and names of things pass."""
    assert only("personal_data", make(frame, label="kind")).status is Status.PASS


@pytest.mark.parametrize("source", ["wine", "images", "tokens", "multilabel"])
def test_numbers_are_not_looked_at(make, only, source):
    """Arrays of numbers name nobody."""
    assert only("personal_data", make(source)).status is Status.SKIPPED


def test_a_list_of_texts_is_looked_at(make, only):
    """Texts that are the inputs themselves are searched too."""
    X = np.array([f"call me at +41 79 123 45 {row:02d} tomorrow" for row in range(60)], dtype=object)
    assert str(only("personal_data", make((X, np.arange(60) % 2))).where) == "inputs"
