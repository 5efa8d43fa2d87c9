"""Columns and labels that moved: found with their place, at any number of rows, told from what differs by nature."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from firstfault.checks.data._distances import distance
from firstfault.finding import Status


def halves(frame, seed=0):
    """Two random halves of a frame."""
    order = np.random.default_rng(seed).permutation(len(frame))
    return frame.iloc[order[: len(frame) // 2]], frame.iloc[order[len(frame) // 2 :]]


def mixed(rows, seed):
    """14 numbers, 8 categories and a label."""
    rng = np.random.default_rng(seed)
    numbers = {f"x{i}": rng.normal(50 * i, 10 + i, rows) for i in range(10)} | {
        f"i{i}": rng.integers(0, 1000 * (i + 1), rows) for i in range(4)
    }
    texts = {
        f"c{i}": pd.Categorical.from_codes(rng.integers(0, count, rows), [f"cat{j}" for j in range(count)])
        for i, count in enumerate((3, 5, 8, 12, 20, 30, 40, 6))
    }
    return pd.DataFrame({**numbers, **texts, "y": rng.integers(0, 2, rows)})


@pytest.mark.parametrize("rows", [100_000, 1_000_000])
def test_an_effect_counts_and_not_the_number_of_rows(make, only, rows):
    """A hundredth of a deviation is silent, half a deviation in one of 22 columns is found there."""
    train, reference = mixed(rows, 0), mixed(rows, 1)
    still = only(
        "covariate_drift", make(train, label="y", data={"reference": reference.assign(x3=reference["x3"] + 0.13)})
    )
    assert still.status is Status.PASS and still.value < 0.12
    moved = only("covariate_drift", make(train.assign(x3=train["x3"] + 6.5), label="y", data={"reference": reference}))
    assert (moved.status, str(moved.where)) == (Status.FAIL, "x3")
    assert moved.value == pytest.approx(0.197, abs=0.04) and "0.5" in moved.message


def test_distances_agree_with_scipy():
    """Kolmogorov–Smirnov and Wasserstein of numbers, Jensen–Shannon of categories."""
    from scipy import stats
    from scipy.spatial.distance import jensenshannon

    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 2, 400), rng.gamma(2, 1, 700).round(1)
    found, known = distance(pd.Series(a), pd.Series(b)), stats.ks_2samp(a, b, method="asymp")
    assert found.value == pytest.approx(known.statistic) and found.shift == pytest.approx(
        stats.wasserstein_distance(a, b) / a.std()
    )
    assert found.p == pytest.approx(known.pvalue)
    c, d = rng.choice(list("abc"), 500, p=[0.5, 0.3, 0.2]), rng.choice(list("abd"), 600, p=[0.4, 0.4, 0.2])
    shares = [[(values == letter).mean() for letter in "abcd"] for values in (c, d)]
    found = distance(pd.Series(c), pd.Series(d))
    assert found.shift == pytest.approx(jensenshannon(*shares, base=2)) and found.value == pytest.approx(
        np.abs(np.subtract(*shares)).sum() / 2
    )


def test_every_column_is_listed_and_the_moved_are_drawn(make, only, drawn):
    """`drift.csv` has a line per column with its values before and after; `drift.svg` is a picture."""
    train, reference = halves(load_wine(as_frame=True).frame)
    subject = make(
        train.assign(hue=train["hue"] + 0.4, ash=train["ash"] + 1), label="target", data={"reference": reference}
    )
    found = only("covariate_drift", subject)
    lines = pd.read_csv(subject.folder / "drift.csv").set_index("column")
    texts, _ = drawn(subject, "drift.svg")
    assert found.artifacts == ("drift.csv", "drift.svg") and {"share of rows", "value", "train"} <= set(texts)
    assert [text.split(" · ")[0] for text in texts if " · distance " in text] == ["ash", "hue"]
    assert set(lines.index[lines["drifted"] == "yes"]) == {"hue", "ash"} and len(lines) == 13
    assert lines.loc["ash", "mean train"] - lines.loc["ash", "mean other"] == pytest.approx(1, abs=0.15)


def test_what_differs_by_nature_is_left_out(make, only):
    """Numbers of rows, codes of their own, moments and dates as text are no drift."""
    train, reference = halves(load_breast_cancer(as_frame=True).frame)

    def numbered(frame, start, letter):
        return frame.assign(
            row=np.arange(len(frame)) + start,
            code=[f"{letter}{i}" for i in range(len(frame))],
            seen=pd.date_range(f"202{start % 7}-01-01", periods=len(frame), freq="D"),
            day=[f"202{start % 7}-01-{i % 28 + 1:02d}" for i in range(len(frame))],
        )

    subject = make(numbered(train, 0, "a"), label="target", data={"reference": numbered(reference, 100_004, "b")})
    assert only("covariate_drift", subject).status is Status.PASS
    left_out = pd.read_csv(subject.folder / "drift.csv").set_index("column")["kind"]
    assert (
        left_out["row"] == left_out["code"] == "left out: an identifier"
        and left_out["seen"] == left_out["day"] == "left out: a time"
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_odd_columns_are_compared_as_far_as_they_can_be(make, only):
    """All missing on one side, another type, truth values, lists, categories, infinities: a finding, and no crash."""
    train, reference = halves(load_breast_cancer(as_frame=True).frame)
    odd = {"area error": None, "mean area": train["mean area"].astype(str), "mean radius": np.inf}
    more = {
        "flag": True,
        "things": [[1, 2]] * len(train),
        "kind": pd.Categorical(["a"] * len(train)),
        "whole": pd.array([1] * len(train), dtype="Int64"),
    }
    subject = make(
        train.assign(**odd, **more),
        label="target",
        data={
            "reference": reference.assign(
                **{
                    key: list(value)[:1] * len(reference) if key != "flag" else False
                    for key, value in more.items()
                    if key != "flag"
                },
                flag=False,
            )
        },
    )
    found = only("covariate_drift", subject)
    lines = pd.read_csv(subject.folder / "drift.csv").set_index("column")
    assert found.status is Status.FAIL and str(found.where) == "flag"
    assert (
        lines.loc["mean area", "kind"] == "type differs"
        and lines.loc["area error", "drifted"] == "yes"
        and lines.loc["area error", "missing train"] == 1
    )


def test_values_missing_on_one_side_alone_are_a_warning(make, only):
    """The values that are there did not move: it is no covariate drift."""
    train, reference = halves(load_breast_cancer(as_frame=True).frame)
    train.iloc[::3, 4] = np.nan
    found = only("covariate_drift", make(train, label="target", data={"reference": reference}))
    assert found.status is Status.WARN and found.faults == {} and str(found.where) == reference.columns[4]


@pytest.mark.parametrize(("source", "label"), [(load_breast_cancer, 1), (load_wine, 1)])
def test_a_shift_of_the_labels_is_none_of_the_inputs(make, only, source, label):
    """Where one class is rarer, its columns move with it: only the labels drifted."""
    train, reference = halves(source(as_frame=True).frame)
    rarer = pd.concat(
        [reference[reference["target"] != label], reference[reference["target"] == label].iloc[: len(reference) // 12]]
    )
    subject = make(train, label="target", data={"reference": rarer})
    assert only("label_drift", subject).faults == {"label_drift": 0.9}
    assert only("covariate_drift", subject).status is Status.PASS
    assert only("domain_classifier", subject).status in (Status.PASS, Status.SKIPPED)


def test_a_split_by_a_declared_time_may_differ(make, only):
    """It is a warning, as time moves columns by nature."""
    frame = load_breast_cancer(as_frame=True).frame.sort_values("mean area").assign(day=np.arange(569))
    subject = make(frame.iloc[:300], label="target", data={"test": frame.iloc[300:], "time": "day"})
    assert (
        only("covariate_drift", subject).status is Status.WARN
        and only("domain_classifier", subject).status is Status.WARN
    )


def test_personal_values_stay_out_of_table_and_picture(make, only):
    """The e-mail column is compared by nothing that could be read."""
    rng = np.random.default_rng(0)

    def people(count, most):
        return pd.DataFrame(
            {
                "email": rng.choice([f"ada{i}@mail.org" for i in range(most)], count),
                "size": rng.normal(size=count),
                "y": rng.integers(0, 2, count),
            }
        )

    subject = make(people(600, 4), label="y", data={"reference": people(600, 9)})
    found = only("covariate_drift", subject)
    assert (
        str(found.where) == "email"
        and found.artifacts == ("drift.csv",)
        and "@" not in (subject.folder / "drift.csv").read_text()
    )


def test_labels_in_another_unit_are_no_sorted_split(make, only):
    """A test in cents is a drift of the labels; one that has the dearest rows was cut from sorted ones."""
    X, y = load_diabetes(return_X_y=True)
    order = np.argsort(y)
    splits = {
        "label_drift": (slice(None, None, 2), X[1::2], 100 * y[1::2]),
        "degenerate_split": (order[:221], X[order[221:]], y[order[221:]]),
    }
    for fault, (train, held, labels) in splits.items():
        found = only("label_drift", make((X[train], y[train]), task="regression", data={"test": (held, labels)}))
        assert found.status is Status.FAIL and set(found.faults) == {fault}


def test_labels_of_numbers_and_of_several_kinds_drift(make, only):
    """A regression's labels by their distribution, a multilabel's one by one."""
    X, y = load_diabetes(return_X_y=True)
    assert only("label_drift", make((X, y), task="regression", data={"reference": (X, y + 60)})).status is Status.FAIL
    assert (
        only("label_drift", make((X[::2], y[::2]), task="regression", data={"reference": (X[1::2], y[1::2])})).status
        is Status.PASS
    )
    rng = np.random.default_rng(0)
    labels = (rng.random((442, 3)) < 0.3).astype(int)
    moved = labels | np.array([0, 0, 1]) * (rng.random((442, 3)) < 0.5)
    found = only("label_drift", make((X, labels), task="multilabel", data={"reference": (X, moved)}))
    assert found.status is Status.FAIL and "the label at 2" in found.message
    assert (
        only(
            "label_drift", make((X[::2], labels[::2]), task="multilabel", data={"reference": (X[1::2], labels[1::2])})
        ).status
        is Status.PASS
    )


@pytest.mark.parametrize(
    "source",
    [
        pd.DataFrame({"a": [1.0], "y": [0]}),
        pd.DataFrame({"a": [None] * 40, "y": [0, 1] * 20}),
        pd.DataFrame({"a": ["x"] * 40, "y": [0] * 40}),
    ],
)
def test_a_few_rows_nothing_or_one_value_are_no_drift(make, only, source):
    """One row, an empty column, one category and one class."""
    subject = make(source, label="y", data={"reference": source})
    assert {only(name, subject).status for name in ("covariate_drift", "label_drift", "domain_classifier")} <= {
        Status.PASS,
        Status.SKIPPED,
    }
