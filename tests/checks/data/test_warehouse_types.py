"""Columns of a warehouse's types (lists, mappings, arrays, decimals, zones): looked at or skipped, never a crash."""

import datetime
import decimal
import traceback
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from firstfault import Data, Target
from firstfault.check import Depth, run_checks
from firstfault.errors import UserCodeError, user_frame
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject


def warehouse(seed, n=240):
    """A table whose label depends on age, beside columns of every type that a parquet file holds."""
    rng = np.random.default_rng(seed)
    age, first = rng.integers(18, 80, n), datetime.date(2024, 1, 1)
    return pd.DataFrame(
        {
            "age": age,
            "amount": [decimal.Decimal(f"{value:.2f}") for value in rng.lognormal(3, 1, n)],
            "tags": [["new"] * int(k) for k in rng.integers(0, 3, n)],
            "address": [{"city": "Ulm", "zip": int(z)} for z in rng.integers(10000, 99999, n)],
            "orders": [[{"id": int(k)}] if k % 3 else None for k in rng.integers(0, 9, n)],
            "embedding": [rng.normal(size=3) for _ in range(n)],
            "seen": pd.Series(pd.date_range("2024-03-30", periods=n, freq="h", tz="Europe/Berlin")),
            "day": [first + datetime.timedelta(int(k)) for k in rng.integers(0, 99, n)],
            "took": pd.to_timedelta(rng.integers(0, 1000, n), unit="s"),
            "token": [bytes([int(k)]) for k in rng.integers(0, 255, n)],
            "segment": pd.Categorical(rng.choice(list("abc"), n)),
            "bought": np.where(age + rng.normal(0, 9, n) > 50, "yes", "no"),
        }
    )


def crashes(report):
    """The findings of a crash, of firstfault's own or told of the user's code."""
    told = [finding for finding in report.findings if finding.status is Status.ERROR]
    return told + [finding for finding in report.findings if "user_code_raises" in finding.faults]


def examined(folder, depth, **data):
    """The report of the data layer on such data."""
    return run_checks(Layer.DATA, Subject(Target("t", data=Data(**data), root=folder), folder / "run"), depth)


@pytest.mark.parametrize(
    "declared", [{"group": "tags"}, {"group": "address", "time": "day"}], ids=["lists", "mappings"]
)
def test_a_table_of_every_type_crashes_no_check(tmp_path, declared):
    """Whatever is declared as the group or the time, and with splits and a reference to compare with."""
    train, *others = (warehouse(seed) for seed in range(3))
    data = {"train": train, "validation": others[0], "test": others[1], "reference": others[0], "label": "bought"}
    assert not crashes(examined(tmp_path, Depth.STANDARD, **data, **declared))


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_file_of_nested_columns_is_read_and_looked_at(tmp_path, kind):
    """Lists and mappings of the file are told as nested, and times with a zone are no type change."""
    frame = warehouse(0).drop(columns=["amount", "took", "token"])
    if kind == "parquet":
        frame.to_parquet(tmp_path / "rows.parquet")
    else:
        frame.to_json(tmp_path / "rows.jsonl", orient="records", lines=True, date_format="iso")
    report = examined(tmp_path, Depth.QUICK, train=f"rows.{kind}", label="bought", time="seen")
    assert not crashes(report)
    assert "type_change" not in {fault for finding in report.failures for fault in finding.faults}
    assert any("nested" in finding.message for finding in report.findings if finding.check == "mixed_columns")


def test_times_are_no_other_type_as_text_or_in_another_zone(tmp_path, make, only):
    """A parquet file beside a csv of the same columns, and beside one in UTC; words for times are a change."""
    frame = warehouse(0)[["age", "seen", "bought"]]
    frame.to_csv(tmp_path / "rows.csv", index=False)
    data = {"validation": tmp_path / "rows.csv", "test": frame.assign(seen=frame["seen"].dt.tz_convert("UTC"))}
    assert only("differing_columns", make(frame, label="bought", data=data)).status is Status.PASS
    words = {"validation": frame.assign(seen="yesterday")}
    assert only("differing_columns", make(frame, label="bought", data=words)).faults == {"type_change": 0.92}


def test_a_frame_of_compiled_code_is_not_the_users(tmp_path, monkeypatch):
    """Such a frame has a relative path, which is below any folder that one stands in."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError) as raised:
        pd.factorize(pd.Series([[1], [2]]))
    assert not all(Path(frame.filename).is_absolute() for frame in traceback.extract_tb(raised.tb))
    assert user_frame(raised.value, tmp_path) is None


def test_reading_that_crashes_by_itself_is_not_told_of_the_user(tmp_path, make, monkeypatch):
    """A crash within firstfault's reading passes on; one within the user's own function is a finding of the data."""
    monkeypatch.setattr("firstfault.data.splits._from_frame", lambda *_: [][0])
    with pytest.raises(IndexError):
        make(warehouse(0), label="bought").get("raw")
    with pytest.raises(UserCodeError, match="loading the data raised IndexError"):
        make(lambda: [][0], label="bought").get("raw")
