"""The shape of the data: tables that differ, and columns of values that cannot be used."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.preprocessing import StandardScaler

from firstfault.check import Depth, run_checks
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject

N = 240


def frame(seed=0, **columns):
    """A sound table with more columns."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=N)
    return pd.DataFrame(
        {
            "a": a,
            "b": rng.integers(0, 9, N),
            "c": rng.choice(list("xyz"), N),
            **columns,
            "y": (a + rng.normal(size=N) > 0).astype(int),
        }
    )


def cycle(*values):
    """A column of these values, again and again."""
    return pd.Series([values[row % len(values)] for row in range(N)], dtype=object)


HEALTHY = {
    "plain": lambda: frame(),
    "codes as text": lambda: frame(d=cycle("0123", "4567")),
    "yes and no": lambda: frame(d=cycle("yes", "no")),
    "dates": lambda: frame(
        d=pd.date_range("2020", periods=N),
        e=cycle("2020-01-01", "1999-12-31"),
        f=cycle(datetime.date(2020, 1, 1), None),
    ),
    "categories": lambda: frame(d=pd.Categorical(cycle("u", "v", "w"))),
    "own types": lambda: frame(d=pd.array(np.arange(N), dtype="Int64"), e=cycle("p", "q").astype("string")),
    "arrow": lambda: frame().convert_dtypes(dtype_backend="pyarrow"),
    "sparse": lambda: frame(d=pd.arrays.SparseArray(np.arange(N) % 9)),
    "numbered columns": lambda: frame().rename(columns={"a": 0, "b": 1}),
    "measures": lambda: frame(d=cycle("5 cm", "7 cm"), e=cycle("3.1.2", "4.0.1")),
    "empty texts": lambda: frame(d=cycle("", "x", " ")),
    "decimals": lambda: frame(d=cycle(Decimal("1.5"), Decimal("2"))),
    "flags": lambda: frame(d=cycle(True, False)),
    "other seed": lambda: frame(seed=5),
}
OWN = (
    "broken_files",
    "differing_columns",
    "constant_columns",
    "mixed_columns",
    "numbers_as_text",
    "impossible_dates",
    "infinite_values",
)


@pytest.mark.parametrize("name", HEALTHY)
def test_a_sound_table_is_not_blamed(make, run, name):
    """Codes, dates, categories, pandas' own types, sparse columns and numbered ones are what they should be."""
    subject = make(HEALTHY[name](), label="y", data={"validation": HEALTHY[name](), "reference": HEALTHY[name]()})
    assert not [
        finding
        for check in OWN
        for finding in run(check, subject)
        if finding.status not in (Status.PASS, Status.SKIPPED)
    ]


ODD = {
    "constant_columns": [
        (
            "3 columns have no value: d, e, f; 1 columns are constant: g",
            lambda: frame(d=np.nan, e=None, f=pd.array([None] * N, dtype="Int64"), g="k"),
        ),
        ("1 columns are constant: d", lambda: frame(d=pd.array([7] * N, dtype="Int64"))),
    ],
    "mixed_columns": [
        ("1 columns hold values of several types, or nested ones: d (int, str)", lambda: frame(d=cycle(1, "1", None))),
        (
            "d (list), e (dict), f (ndarray)",
            lambda: frame(d=cycle([1], [2, 3]), e=cycle({"k": 1}, {"k": [2]}), f=cycle(np.ones(2), np.ones(3))),
        ),
    ],
    "numbers_as_text": [
        ("d (with commas)", lambda: frame(d=cycle("1,234", "12", "-3,456.5"))),
        ("d (with commas)", lambda: frame(d=cycle("1,5", "22,75"))),
        ("d (fractions as text)", lambda: frame(d=cycle("1.5", "2e-3", " -.5 "))),
        ("d (1 words among them)", lambda: frame(d=cycle(*["7"] * 30, "unknown"))),
        ("d (with commas)", lambda: frame(d=cycle("1,234", "5,678").astype("string"))),
    ],
    "impossible_dates": [
        ("d (", lambda: frame(d=cycle(datetime.datetime(3000, 1, 1), datetime.datetime(2020, 1, 1)))),
        ("d (", lambda: frame(d=cycle(datetime.date(9999, 12, 31), None))),
        ("d (", lambda: frame(d=cycle("1600-01-01", "2020-01-01"))),
        (
            "d (",
            lambda: frame(d=np.array(["3000-01-01", "2020-01-01", "1500-01-01"] * (N // 3), dtype="datetime64[us]")),
        ),
    ],
}


@pytest.mark.parametrize(
    ("check", "told", "make_frame"), [(check, *case) for check, cases in ODD.items() for case in cases]
)
def test_odd_columns_are_named_as_a_warning(make, only, check, told, make_frame):
    """They are no fault by themselves."""
    finding = only(check, make(make_frame(), label="y"))
    assert (
        finding.status is Status.WARN and told in finding.message and not finding.faults and "d" in str(finding.where)
    )


def test_infinite_numbers_that_reach_the_model_are_a_fault(make, only):
    """Like missing values, and where a step refuses them; those that a step clips are a warning."""
    spoilt = frame(d=np.where(np.arange(N) % 20 == 0, np.inf, 1.0))
    reaches = make(spoilt, label="y", preprocess=lambda X: X.drop(columns="c"))
    clipped = make(spoilt, label="y", preprocess=lambda X: X.drop(columns="c").clip(-9, 9))
    refused = make(spoilt.drop(columns="c"), label="y", preprocess=StandardScaler())
    assert only("infinite_values", refused).faults == {"missing_values": 0.92}
    finding, mild = only("infinite_values", reaches), only("infinite_values", clipped)
    assert finding.status is Status.FAIL and finding.faults == {"missing_values": 0.92} and str(finding.where) == "d"
    assert mild.status is Status.WARN and not mild.faults


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_that_lacks_a_column_is_a_fault_at_depth_quick(make, only, split):
    """Great Expectations runs later only; a column on top is a warning."""
    finding = only("differing_columns", make(frame(), label="y", data={split: frame(1).drop(columns="b")}))
    assert (
        finding.status is Status.FAIL
        and finding.faults == {"schema_change": 0.95}
        and f"{split} has other columns than train: it lacks b" in finding.message
    )
    assert only("differing_columns", make(frame(), label="y", data={split: frame(1, d=1)})).status is Status.WARN


def test_columns_that_the_reference_has_are_missed_in_train(make, only):
    """A renamed column is lacking and new."""
    finding = only(
        "differing_columns", make(frame().rename(columns={"b": "B"}), label="y", data={"reference": frame(1)})
    )
    assert (
        finding.status is Status.FAIL
        and "train has other columns than the reference: it lacks b; it adds B" in finding.message
    )


def test_a_column_of_another_type_is_a_fault_at_depth_quick(make, only):
    """Numbers here, text there."""
    finding = only("differing_columns", make(frame(), label="y", data={"validation": frame(1).astype({"b": str})}))
    assert (
        finding.status is Status.FAIL
        and finding.faults == {"type_change": 0.92}
        and "b (text instead of number)" in finding.message
    )


def test_equal_columns_of_other_widths_and_orders_are_no_change(make, only):
    """Whole numbers and fractions, text and categories, and an empty column are the same schema."""
    other = frame(1).astype({"b": "float32", "c": "category"})[["c", "b", "a", "y"]]
    assert (
        only(
            "differing_columns",
            make(frame(), label="y", data={"validation": other, "reference": frame(2).assign(b=np.nan)}),
        ).status
        is Status.PASS
    )


def test_arrays_of_another_shape_are_a_fault(make, only):
    """Validation images of another size, or rows of another width."""
    X, y = np.random.default_rng(0).random((60, 3, 8, 8)), np.arange(60) % 2
    finding = only("differing_columns", make((X, y), data={"validation": (X[:, :, :4], y)}))
    assert finding.status is Status.FAIL and finding.message == "samples of validation are 3×4×8, those of train 3×8×8"


def test_tables_of_a_folder_with_other_columns_are_named(make, run, tmp_path):
    """The first file is the schema."""
    (tmp_path / "data").mkdir()
    frame().to_csv(tmp_path / "data" / "1.csv", index=False)
    frame(1).rename(columns={"b": "bb"}).to_csv(tmp_path / "data" / "2.csv", index=False)
    [finding] = run("broken_files", make(tmp_path / "data", label="y"))
    assert finding.status is Status.FAIL and finding.faults == {"schema_change": 0.95}
    assert "2.csv has other columns than 1.csv: it lacks b; it adds bb" in finding.message


def test_a_broken_line_of_the_reference_is_found_too(make, run, tmp_path):
    """What everything is measured against must be whole."""
    content = frame().to_csv(index=False).splitlines()
    content[7] = "1,2"
    (tmp_path / "old.csv").write_text("\n".join(content))
    [finding] = run("broken_files", make(frame(), label="y", data={"reference": str(tmp_path / "old.csv")}))
    assert finding.status is Status.FAIL and str(finding.where) == "old.csv (reference)"


SURVIVED = {
    **{f"{check} {place}": case[1] for check, cases in ODD.items() for place, case in enumerate(cases)},
    "sets and objects": lambda: frame(
        d=cycle({1}, {2}), e=cycle(object(), object()), f=cycle((1,), (2, 3)), g=cycle(int, str)
    ),
    "huge": lambda: frame(
        d=cycle(10**30, 1), e=np.full(N, 2**64 - 1, dtype=np.uint64), f=np.arange(N).astype(np.float16)
    ),
    "surrogates": lambda: frame(d=cycle("\ud800", "b"), e=cycle(b"a", b"b")),
    "times": lambda: frame(d=pd.to_timedelta(np.arange(N), unit="s"), e=pd.period_range("2020", periods=N)),
    "infinite": lambda: frame(d=np.where(np.arange(N) % 20 == 0, np.inf, 1.0)),
    "intervals": lambda: frame(d=pd.cut(np.arange(N), 5)),
    "repeated index": lambda: frame().set_index(np.zeros(N)),
    "no label": lambda: frame().assign(y=np.nan),
    "one class": lambda: frame().assign(y=1),
    "one row": lambda: frame().iloc[:1],
    "nameless": lambda: frame().rename(columns={"a": None, "b": np.nan}),
    "a series": lambda: (frame()["a"], frame()["y"]),
    "a list": lambda: (frame()["a"].tolist(), frame()["y"].tolist()),
    "texts": lambda: (frame()["c"].to_numpy(), frame()["y"]),
    "objects": lambda: (frame().to_numpy(), frame()["y"]),
    "records": lambda: (frame()[["a", "b"]].to_records(index=False), frame()["y"]),
    "wide": lambda: (pd.DataFrame(np.random.default_rng(0).normal(size=(60, 400))), np.arange(60) % 2),
}


@pytest.mark.parametrize("name", SURVIVED)
def test_every_check_survives_odd_tables(make, name):
    """Each yields a finding or is skipped; none crashes."""
    source = SURVIVED[name]()
    subject = make(source, label="y" if isinstance(source, pd.DataFrame) else None)
    report = run_checks(Layer.DATA, subject, Depth.QUICK)
    assert not [
        finding for finding in report.findings if finding.status is Status.ERROR or finding.check.endswith("_raises")
    ]


def test_labels_of_one_value_or_none_are_named(make, run):
    """One class is no classification, and a label column without labels nothing to learn from."""
    assert run("missing_class", make(frame().assign(y=1), label="y"))[0].faults == {"missing_class": 0.95}
    assert "labels are missing" in run("missing_values", make(frame().assign(y=np.nan), label="y"))[0].message


def test_image_folders_of_two_shapes_are_a_fault(tmp_path):
    """Train in colour, validation in grey."""
    from firstfault import Data, Target

    for split, mode in (("train", "RGB"), ("validation", "L")):
        for number in range(8):
            place = tmp_path / split / f"class{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((9, 9), 50 + number).convert(mode).save(place / f"{number}.png")
    subject = Subject(Target("t", data=Data(train="train", validation="validation"), root=tmp_path), tmp_path / "run")
    report = run_checks(Layer.DATA, subject, Depth.QUICK)
    assert [finding.message for finding in report.findings if finding.check == "differing_columns"] == [
        "samples of validation are 1×9×9, those of train 3×9×9"
    ]
