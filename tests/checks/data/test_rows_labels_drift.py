"""Planted faults of the data layer, each with a healthy twin on other data."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn

from firstfault.check import Depth, checks_of, run_checks
from firstfault.finding import Layer, Status


def cancer():
    """Breast cancer as a frame with its label."""
    return load_breast_cancer(as_frame=True).frame


def wine():
    """Wine as a frame with its label."""
    return load_wine(as_frame=True).frame


def halves(frame, seed=0):
    """Two random halves of a frame."""
    order = np.random.default_rng(seed).permutation(len(frame))
    return frame.iloc[order[: len(frame) // 2]], frame.iloc[order[len(frame) // 2 :]]


def noisy(frame, share, seed=0):
    """A frame with a share of its labels replaced by another class."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(frame)) < share
    return frame.assign(target=np.where(wrong, (frame["target"] + 1) % frame["target"].nunique(), frame["target"]))


def overlapping(frame):
    """Train, and a test that repeats a fifth of it."""
    train, test = halves(frame)
    return train, {"test": pd.concat([test, train.iloc[: len(train) // 5]])}


FAULTY = {
    "duplicate_rows": lambda f: (pd.concat([f, f.iloc[: len(f) // 5]]), {}),
    "split_overlap": overlapping,
    "conflicting_labels": lambda f: (
        pd.concat(
            [f, f.iloc[: len(f) // 5].assign(target=(f["target"].iloc[: len(f) // 5] + 1) % f["target"].nunique())]
        ),
        {},
    ),
    "target_leakage": lambda f: (f.assign(code=f["target"] * 7 + 1), {}),
    "sentinel_value": lambda f: (
        f.assign(**{f.columns[0]: f.iloc[:, 0].where(np.arange(len(f)) % 20 != 0, -999.0)}),
        {},
    ),
    "label_noise": lambda f: (noisy(f, 0.3), {}),
    "missing_class": lambda f: (f[f["target"] != 0], {"test": f}),
    "covariate_drift": lambda f: (
        f,
        {"reference": f.assign(**{f.columns[3]: f.iloc[:, 3] + 1.5 * f.iloc[:, 3].std()})},
    ),
    "label_drift": lambda f: (
        f,
        {
            "reference": f.groupby("target")
            .apply(lambda g: g.sample(frac=0.15 if g.name else 1.0, random_state=0), include_groups=True)
            .reset_index(drop=True)
        },
    ),
    "degenerate_split": lambda f: ((g := f.sort_values("target")).iloc[: len(f) // 2], {"test": g.iloc[len(f) // 2 :]}),
}


def failures(subject):
    """The faults that the data layer fails with."""
    report = run_checks(Layer.DATA, subject, Depth.QUICK)
    assert not [finding for finding in report.findings if finding.status is Status.ERROR], report.findings
    return {fault for finding in report.failures for fault in finding.faults}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_planted_fault_is_found(make, run, fault):
    """The fault's id is among the failed findings: of the whole layer, and on another table of the checks for it."""
    train, declared = FAULTY[fault](wine())
    assert fault in failures(make(train, label="target", data=declared))
    train, declared = FAULTY[fault](cancer())
    subject = make(train, label="target", data=declared)
    asked = [check.name for check in checks_of(Layer.DATA) if fault in check.detects and check.depth is Depth.QUICK]
    found = [finding for name in asked for finding in run(name, subject)]
    assert fault in {each for finding in found if finding.status is Status.FAIL for each in finding.faults}


@pytest.mark.parametrize("source", [cancer, wine], ids=["cancer", "wine"])
def test_a_healthy_table_has_none(make, source):
    """The table as it is, whole or as declared halves, fails nothing."""
    assert failures(make(source(), label="target")) == set()
    train, test = halves(source(), seed=3)
    assert failures(make(train, label="target", data={"test": test, "reference": test})) == set()


def test_random_labels_are_found_and_true_ones_are_not(make):
    """Labels drawn anew have nothing to do with digits; the true ones have."""
    X, y = load_digits(return_X_y=True)
    shuffled = make((X, np.random.default_rng(0).permutation(y)), model=lambda: nn.Sequential(nn.Linear(64, 10)))
    assert "random_labels" in failures(shuffled)
    assert failures(make((X, y))) == set()


def test_group_overlap_is_found_only_where_groups_are_parted(make):
    """A patient on both sides of the user's own split."""
    frame = cancer().assign(patient=np.arange(569) // 4)
    train, test = halves(frame)
    assert "group_overlap" in failures(make(train, label="target", data={"test": test, "group": "patient"}))
    assert "group_overlap" not in failures(make(frame, label="target", data={"group": "patient"}))


def test_imbalance_is_suspected(make):
    """One class in thirty."""
    frame = cancer()
    keep = (frame["target"] == 1) | (np.arange(len(frame)) % 20 == 0)
    assert "class_imbalance" in failures(make(frame[keep], label="target"))


def test_missing_values_count_where_they_reach_the_model(make, only):
    """Imputed ones warn, raw ones fail."""
    from sklearn.impute import SimpleImputer

    frame = cancer()
    frame.iloc[::7, 2] = np.nan
    assert only("missing_values", make(frame, label="target", preprocess=SimpleImputer())).status is Status.WARN
    assert only("missing_values", make(frame, label="target")).status is Status.FAIL


def test_missing_values_are_no_fault_where_the_model_takes_them(make, only):
    """Boosted trees are fitted on them, and a network may replace them by itself; a regression refuses them."""
    from sklearn.linear_model import LogisticRegression

    class Replacing(nn.Linear):
        def forward(self, x):
            return super().forward(x.nan_to_num() / 100)

    frame = cancer()
    frame.iloc[::7, 2] = np.nan
    trees = lambda: HistGradientBoostingClassifier(max_iter=3)  # noqa: E731
    models = {trees: Status.WARN, lambda: Replacing(30, 2): Status.WARN, LogisticRegression: Status.FAIL}
    for model, status in models.items():
        assert only("missing_values", make(frame, label="target", model=model)).status is status


def test_a_code_below_zero_stands_alone_in_a_skewed_column(make, only):
    """−999 is near the many small incomes, which spread far, but alone negative; a temperature may be negative."""
    rng = np.random.default_rng(0)
    income = rng.lognormal(9, 1, 600).round(2)
    frame = pd.DataFrame({"income": np.where(np.arange(600) % 15 == 0, -999.0, income), "y": rng.integers(0, 2, 600)})
    assert only("sentinel_value", make(frame, label="y")).faults == {"sentinel_value": 0.85}
    cold = frame.assign(income=np.where(np.arange(600) % 15 == 0, -9.0, rng.normal(5, 9, 600).round(1)))
    assert only("sentinel_value", make(cold, label="y")).status is Status.PASS
    for code, most, status in ((999.0, 90.0, Status.FAIL), (99999.0, 41310.0, Status.PASS), (990.0, 90.0, Status.PASS)):
        age = frame.assign(income=np.where(np.arange(600) % 15 == 0, code, rng.uniform(0, most, 600)))
        assert only("sentinel_value", make(age, label="y")).status is status


class TreesWithACode(HistGradientBoostingClassifier):
    """Boosted trees that are told which number stands for none, as XGBoost's are."""

    def __init__(self, missing=np.nan):
        super().__init__(max_iter=3)
        self.missing = missing

    def fit(self, X, y):
        return super().fit(np.where(self.missing == X, np.nan, X), y)


def test_a_code_is_no_fault_where_the_target_reads_it_as_missing(make, only):
    """A step reads it, or the model by a setting, or nothing uses the column; one that only scales it does not."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    frame = cancer().iloc[:, [0, 1, 2, -1]]
    frame.iloc[::15, 1] = -999.0
    harmless = [
        [("known", lambda X: X.replace(-999.0, np.nan)), ("filled", SimpleImputer())],
        lambda X: X.drop(columns=frame.columns[1]),
    ]
    for step in harmless:
        assert only("sentinel_value", make(frame, label="target", preprocess=step)).status is Status.WARN
    trees = make(frame, label="target", model=lambda: TreesWithACode(missing=-999.0))
    assert only("sentinel_value", trees).status is Status.WARN
    for step in (None, StandardScaler(), lambda X: X / 1000):
        assert only("sentinel_value", make(frame, label="target", preprocess=step)).status is Status.FAIL


def test_missing_values_of_a_held_out_split_reach_the_model_too(make, only):
    """Train is complete, test is not: imputing it is a warning, passing it on a fault."""
    frame, other = halves(wine())
    other = other.assign(ash=other["ash"].where(np.arange(len(other)) % 7 != 0))
    for step, status in ((None, Status.FAIL), (lambda X: X.fillna(0.0), Status.WARN)):
        finding = only("missing_values", make(frame, label="target", preprocess=step, data={"test": other}))
        assert finding.status is status
        assert "test" in finding.message


def test_labels_that_a_split_by_time_moves_are_a_warning(make, only):
    """Sales grow from year to year; the same difference without a time is a drift."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"day": np.arange(600), "price": rng.normal(size=600), "sold": np.arange(600) * 0.1 + rng.normal(0, 20, 600)}
    )
    for time, status in (("day", Status.WARN), (None, Status.FAIL)):
        subject = make(frame[:400], label="sold", task="regression", data={"time": time, "test": frame[400:]})
        assert only("label_drift", subject).status is status


def test_how_far_a_code_must_lie_below_all_other_values_can_be_set(make, run):
    """A code three spreads below the rest is one by the usual fence, and none by a wider one."""
    rng = np.random.default_rng(0)
    values = np.where(np.arange(400) % 20 == 0, -9.0, rng.uniform(-2, 0, 400))
    subject = make(pd.DataFrame({"a": values, "b": rng.normal(size=400), "y": rng.integers(0, 2, 400)}), label="y")
    assert run("sentinel_value", subject)[0].status is Status.FAIL
    assert run("sentinel_value", subject, fence=20.0)[0].status is Status.PASS
