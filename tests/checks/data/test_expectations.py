"""Great Expectations suites: inferred, declared, validated, and what a broken one is evidence for."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import sqlalchemy

from firstfault import Sql
from firstfault.data.expectations.suite import infer_suite, read_suite
from firstfault.data.expectations.table import Table
from firstfault.data.expectations.validation import validate
from firstfault.errors import TargetError
from firstfault.finding import Status


def people(n=800, seed=0):
    """A clean mixed table with a label."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "income": rng.lognormal(10, 0.4, n),
            "city": rng.choice(["Bern", "Oslo", "Rome"], n),
            "member": rng.random(n) > 0.5,
            "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "kind": rng.integers(0, 2, n),
        }
    )


DEFECTS = {
    "out_of_range": ("age", lambda f: f.assign(age=f["age"].where(f.index % 100 != 0, 900))),
    "unseen_category": ("city", lambda f: f.assign(city=f["city"].where(f.index % 60 != 0, "Atlantis"))),
    "type_change": ("age", lambda f: f.assign(age=f["age"].astype(str))),
    "schema_change": ("income", lambda f: f.rename(columns={"income": "Income"})),
    "missing_values": ("income", lambda f: f.assign(income=f["income"].where(f.index % 50 != 0))),
}


@pytest.mark.parametrize("fault", DEFECTS)
def test_a_defect_against_the_reference_is_named_with_its_column(make, run, fault):
    """Each planted defect fails with its own fault id and column."""
    column, spoil = DEFECTS[fault]
    subject = make(spoil(people(seed=1)), label="kind", data={"reference": people()})
    found = [finding for finding in run("expectations", subject) if finding.status is Status.FAIL]
    assert [list(finding.faults) for finding in found] == [[fault]]
    assert column in str(found[0].where)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_source_on_another_day_meets_the_expectations(make, only, seed):
    """Rows drawn anew from the same source break nothing."""
    subject = make(people(500, seed + 5), label="kind", data={"reference": people()})
    assert only("expectations", subject).status is Status.PASS


def test_without_a_reference_held_out_rows_are_validated(make, only):
    """A suite inferred from train is met by the rows that were held out, and both files are written."""
    subject = make("table")
    assert only("expectations", subject).status is Status.PASS
    assert json.loads((subject.folder / "gx_result.json").read_text())["held-out rows"]["success"] is True


def test_the_page_opens_offline(make, only):
    """The page names every expectation, and refers to no other file or host."""
    subject = make(people(), label="kind")
    only("expectations", subject)
    page = (subject.folder / "gx_result.html").read_text()
    assert "column values to be between" in page and not re.search(r"(src|href|url)\s*[=(]", page)


def test_failing_rows_are_set_aside_with_their_reasons(make, run):
    """The counts add up, every reason is named, and each row is found where the file says."""
    frame = people(seed=1)
    frame.loc[[5, 9, 300], "age"] = 999
    frame.loc[[9, 11], "city"] = "Atlantis"
    subject = make(frame, label="kind", data={"reference": people()})
    finding = next(finding for finding in run("expectations", subject) if str(finding.where) == "rows")
    assert finding.value == 4 and "4 of 800 rows" in finding.message and "796 are clean" in finding.message
    kept = pd.read_csv(subject.folder / "quarantine.csv")
    assert sorted(kept["quarantine.reasons"].str.count("column_values")) == [1, 1, 1, 2]
    splits = dict(subject.raw.items())
    for row in kept.itertuples():
        assert splits[row[-3]].X["age"].iloc[row[-2]] == row.age


def test_the_clean_rest_goes_on_when_asked_for(make, run):
    """With data.quarantine the failing rows leave the splits, nothing else does, and the run is told of them."""
    frame = people(seed=1)
    frame.loc[[5, 9, 300], "age"] = 999
    frame.loc[[9, 11], "city"] = "Atlantis"
    subject = make(frame, label="kind", data={"reference": people(), "quarantine": True})
    left = pd.concat([split.X for _, split in subject.raw.items()])
    assert len(left) == 796 and left["age"].max() < 100 and "Atlantis" not in set(left["city"])
    [told] = run("quarantined_rows", subject)
    assert told.status is Status.WARN and told.value == 4 and "796 are clean" in told.message
    assert len(pd.read_csv(subject.folder / "quarantine.csv")) == 4
    assert not [finding for finding in run("expectations", subject) if finding.status is Status.FAIL]


def test_a_column_of_another_type_is_no_row_to_set_aside(make, run):
    """Quarantine does not empty the table: what is wrong with a whole column still fails."""
    frame = people(seed=1).assign(age=lambda f: f["age"].astype(str))
    subject = make(frame, label="kind", data={"reference": people(), "quarantine": True})
    assert sum(len(split.y) for _, split in subject.raw.items()) == 800
    assert [list(finding.faults) for finding in run("expectations", subject) if finding.status is Status.FAIL] == [
        ["type_change"]
    ]


def test_quarantine_that_leaves_nothing_is_refused(make):
    """A split without rows can't go on."""
    subject = make(people(seed=1).assign(age=999), label="kind", data={"reference": people(), "quarantine": True})
    with pytest.raises(TargetError, match="must leave rows in every split, but all"):
        subject.get("raw")


def test_quarantine_needs_something_to_hold_rows_against(make):
    """Without a suite and a reference there is nothing that a row could break."""
    with pytest.raises(TargetError, match=r"data\.quarantine must be False where there are neither"):
        make(people(), label="kind", data={"quarantine": True})


def test_a_declared_suite_is_used(make, run, tmp_path):
    """The user's own file decides, with its severities."""
    suite = {
        "name": "mine",
        "expectations": [
            {
                "type": "expect_column_max_to_be_between",
                "kwargs": {"column": "age", "max_value": 50},
                "severity": "critical",
            },
            {
                "type": "expect_column_values_to_be_in_set",
                "kwargs": {"column": "city", "value_set": ["Bern"]},
                "severity": "warning",
            },
        ],
    }
    (tmp_path / "mine.json").write_text(json.dumps(suite))
    subject = make(people(), label="kind", data={"expectations": "mine.json"}, root=tmp_path)
    found = run("expectations", subject)
    assert [(finding.status, str(finding.where)) for finding in found] == [(Status.FAIL, "age"), (Status.WARN, "city")]


def test_the_shipped_suite_is_found_by_name(tmp_path):
    """`adult.json` comes with firstfault."""
    assert len(read_suite("adult.json", tmp_path).expectations) > 50


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"name": "x", "expectations": [{"type": "expect_nonsense", "kwargs": {}}]}']
)
def test_an_unusable_suite_is_refused_in_one_sentence(tmp_path, text):
    """What is no suite of Great Expectations is the user's mistake."""
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(
        TargetError, match=r"data\.expectations must be a Great Expectations suite, but bad\.json is not"
    ):
        read_suite("bad.json", tmp_path)


def test_a_missing_suite_is_refused(tmp_path):
    """The sentence names the file."""
    with pytest.raises(TargetError, match=r"there is no file .*gone\.json"):
        read_suite("gone.json", tmp_path)


def test_unseen_but_legal_tables_are_inferred_and_met():
    """Categories, nullable numbers, empty columns and mixed objects: a table meets what was inferred from it."""
    frame = pd.DataFrame(
        {
            "c": pd.Categorical(["a", "b"] * 60),
            "I": pd.array([1, None] * 60, dtype="Int64"),
            "empty": [None] * 120,
            "mixed": ["a", 1] * 60,
            "const": 1.0,
            7: range(120),
        }
    )
    table = Table([frame])
    assert validate(table, infer_suite(table, "odd")).broken == ()


def test_a_target_over_sql_is_judged_where_its_table_lies(make, run, tmp_path):
    """The broken values are told with their counts, and the failing rows are listed."""
    known = people().drop(columns=["member", "since"])  # SQLite has neither truth values nor dates
    frame = people(600, seed=1)[list(known)]
    frame.loc[::50, "income"], frame.loc[::100, "age"], frame.loc[::60, "city"] = None, 900, "Atlantis"
    frame.to_sql("people", sqlalchemy.create_engine(f"sqlite:///{tmp_path}/data.db"), index=False)
    subject = make(
        Sql(f"sqlite:///{tmp_path}/data.db", "SELECT * FROM people"), label="kind", data={"reference": known}
    )
    found = run("expectations", subject)
    faults = {fault for finding in found if finding.status is Status.FAIL for fault in finding.faults}
    assert faults == {"out_of_range", "unseen_category", "missing_values"}
    assert any("6 values" in finding.message and "age" in str(finding.where) for finding in found)
    assert len(pd.read_csv(subject.folder / "quarantine.csv")) == len(
        {*range(0, 600, 50), *range(0, 600, 100), *range(0, 600, 60)}
    )
