"""Columns that give the label away alone or in pairs, and honest columns that do not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification

from firstfault.finding import Status


def cancer():
    """Breast cancer: 569 rows, two classes, easily separable by all columns together."""
    return load_breast_cancer(as_frame=True).frame


def generated():
    """1,500 rows of three overlapping classes in twelve columns."""
    X, y = make_classification(
        1500, 12, n_informative=6, n_classes=3, n_clusters_per_class=1, class_sep=0.8, random_state=3
    )
    return pd.DataFrame(X).add_prefix("g").assign(target=y)


def coin(count, seed=1):
    """Fair coins."""
    return np.random.default_rng(seed).integers(0, 2, count)


def mistaken(y, share=0.01, seed=2):
    """Labels of which a share is drawn anew."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(y)) < share, rng.choice(np.unique(y), len(y)), y)


LEAKS = {
    "copy with 1 % noise": lambda y: mistaken(y),
    "names": lambda y: np.array(["north", "south", "west"], dtype=object)[y],
    "shifted code": lambda y: 7.0 * y + 1 + np.random.default_rng(0).normal(0, 0.01, len(y)),
    "id ranges": lambda y: y * 100_000 + np.random.default_rng(0).permutation(90_000)[: len(y)],
    "ids with a prefix": lambda y: [f"{'ABC'[label]}-{number}" for number, label in enumerate(y)],
    "missing in one class": lambda y: np.where(y == 1, np.nan, np.random.default_rng(0).normal(size=len(y))),
}
HONEST = {
    "iris": lambda: load_iris(as_frame=True).frame,
    "wine": lambda: load_wine(as_frame=True).frame,
    "cancer": cancer,
    "digits": lambda: load_digits(as_frame=True).frame,
    "generated": generated,
}


@pytest.mark.parametrize("source", [cancer, generated], ids=["cancer", "generated"])
@pytest.mark.parametrize("leak", LEAKS)
def test_a_column_that_gives_the_label_away_is_named(make, only, leak, source):
    """However the label is written into it."""
    frame = source()
    finding = only("target_leakage", make(frame.assign(leak=LEAKS[leak](frame["target"].to_numpy())), label="target"))
    assert finding.status is Status.FAIL and str(finding.where) == "leak", finding


@pytest.mark.parametrize("source", HONEST)
def test_honest_columns_pass(make, only, source):
    """Data that are easy to part have several strong columns, or none."""
    subject = make(HONEST[source](), label="target")
    assert only("target_leakage", subject).status is Status.PASS
    assert only("pair_leakage", subject).status in (Status.PASS, Status.SKIPPED)


def test_a_column_filled_in_after_the_outcome_is_named(make, only):
    """A refund is zero but where the customer left."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(800, 5))
    left = (X.sum(1) + rng.normal(0, 1, 800) > 1).astype(int)
    frame = pd.DataFrame(X).add_prefix("x").assign(refund=np.where(left, rng.gamma(2, 20, 800), 0.0), left=left)
    assert str(only("target_leakage", make(frame, label="left")).where) == "refund"


@pytest.mark.parametrize(
    "change", [np.exp, lambda y: -(y**3), lambda y: y + np.random.default_rng(0).normal(0, 0.01, len(y))]
)
def test_a_function_of_a_number_to_predict_leaks(make, only, change):
    """Rising, falling or with noise; the other columns explain half of it."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(900, 4))
    y = X[:, 0] + X[:, 1] + rng.normal(0, 1, 900)
    frame = pd.DataFrame(X).add_prefix("x").assign(y=y)
    assert only("target_leakage", make(frame, label="y", task="regression")).status is Status.PASS
    assert str(only("target_leakage", make(frame.assign(leak=change(y)), label="y", task="regression")).where) == "leak"


NOISY = {
    "under noise": lambda y: y + np.random.default_rng(0).normal(0, 0.12, len(y)),
    "in other units": lambda y: np.array([40.0, 90.0, 10.0])[y] + np.random.default_rng(1).normal(0, 3, len(y)),
    "ranges": lambda y: y * 3 + np.random.default_rng(2).uniform(0, 2.4, len(y)),
    "as shares": lambda y: np.clip(y / 2 * 0.8 + 0.1 + np.random.default_rng(3).normal(0, 0.04, len(y)), 0, 1),
}


@pytest.mark.parametrize("source", [load_iris, load_wine])
@pytest.mark.parametrize("leak", NOISY)
def test_a_noisy_copy_of_the_label_is_named_among_strong_columns(make, only, leak, source):
    """In 150 rows that the others tell apart as well: it depends on none of them given the label."""
    frame = source(as_frame=True).frame
    finding = only("target_leakage", make(frame.assign(leak=NOISY[leak](frame["target"].to_numpy())), label="target"))
    assert finding.status is Status.FAIL and str(finding.where) == "leak", finding


def amounts(rows=250, weight=3.0):
    """An amount that six columns make up, the first by that weight."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(rows, 6))
    return pd.DataFrame(X).add_prefix("g").assign(target=X @ [weight, 1, 0.5, 0.3, 0, 0] + rng.normal(0, 0.1, rows))


@pytest.mark.parametrize(
    "change",
    [lambda y: y.rank(), lambda y: y * 2 + np.random.default_rng(0).normal(0, 0.05, len(y)), lambda y: np.exp(y / 4)],
    ids=["rank", "under noise", "exponential"],
)
def test_a_function_of_an_amount_that_others_predict_is_named(make, only, change):
    """The other columns leave little open, and this one depends on none of them given the amount."""
    frame = amounts()
    subject = make(frame.assign(leak=change(frame.target)), label="target", task="regression")
    finding = only("target_leakage", subject)
    assert finding.status is Status.FAIL and str(finding.where) == "leak", finding


STRONG = {
    "one column of iris and the sepals": lambda: load_iris(as_frame=True).frame.drop(columns="petal length (cm)"),
    "four columns of wine": lambda: load_wine(as_frame=True).frame[
        ["flavanoids", "proline", "color_intensity", "alcohol", "target"]
    ],
    "a setosa by its petals": lambda: load_iris(as_frame=True).frame.assign(
        target=lambda X: (X.target == 0).astype(int)
    ),
    "the worst area of cancer": lambda: cancer()[["worst area", "mean texture", "worst concavity", "target"]],
}


@pytest.mark.parametrize("source", STRONG)
def test_one_honestly_strong_column_passes(make, only, source):
    """What was measured depends on the other measurements, whatever the label says."""
    assert only("target_leakage", make(STRONG[source](), label="target")).status is Status.PASS


def test_the_largest_part_of_an_amount_is_no_leak(make, only):
    """What the column leaves of the amount is in the others."""
    subject = make(amounts(weight=12.0), label="target", task="regression")
    assert only("target_leakage", subject).status is Status.PASS


def test_a_column_that_is_nearly_the_label_is_a_warning(make, only):
    """One tenth of an amount, to within a fifth of its spread, which no other column tells of."""
    frame = amounts(weight=1.0).drop(columns=["g0", "g1", "g2"])
    paid = frame.target / 10 + np.random.default_rng(0).normal(0, 0.02 * frame.target.std(), len(frame))
    subject = make(frame.assign(paid=paid), label="target", task="regression")
    finding = only("target_leakage", subject)
    assert finding.status is Status.WARN and str(finding.where) == "paid", finding


def test_values_missing_in_part_of_one_class_are_a_warning(make, only):
    """They tell the class where they are missing, but not of every row; missing at random tells nothing."""
    frame = cancer()
    value, coins = np.random.default_rng(0).normal(size=len(frame)), coin(len(frame)) == 1
    partly = frame.assign(test_result=np.where((frame["target"] == 1) & coins, np.nan, value))
    assert only("target_leakage", make(partly, label="target")).status is Status.WARN
    assert (
        only("target_leakage", make(frame.assign(test_result=np.where(coins, np.nan, value)), label="target")).status
        is Status.PASS
    )


def pair(kind, y):
    """Two columns that are the label together, by one relation."""
    rng = np.random.default_rng(4)
    amount, coins = rng.gamma(5, 10, len(y)), coin(len(y))
    names = np.array([f"user {number}" for number in rng.integers(0, 400, len(y))], dtype=object)
    return {
        "exclusive or": lambda: (coins, coins ^ mistaken(y)),
        "difference": lambda: (amount, amount - np.where(y, 1, -1) * rng.gamma(2, 2, len(y))),
        "ratio": lambda: (amount, amount * np.where(y, rng.uniform(0.1, 0.5, len(y)), rng.uniform(0.51, 1, len(y)))),
        "equal names": lambda: (names, np.where(y == 1, names, rng.permutation(names))),
    }[kind]()


@pytest.mark.parametrize("kind", ["exclusive or", "difference", "ratio", "equal names"])
def test_two_columns_that_give_the_label_away_together_are_named(make, only, kind):
    """Neither does alone."""
    frame = generated()
    y = (frame["target"].to_numpy() == 1).astype(int)
    first, second = pair(kind, y)
    subject = make(frame.assign(target=mistaken(y, 0.1), first=first, second=second), label="target")
    assert only("pair_leakage", subject).status is Status.PASS
    subject = make(frame.assign(target=y, first=first, second=second), label="target")
    assert only("target_leakage", subject).status is Status.PASS
    finding = only("pair_leakage", subject)
    assert finding.status is Status.FAIL and str(finding.where) == "first, second", finding


def test_two_honest_columns_that_interact_are_no_leak(make, only):
    """The sign of their product is the label of 19 rows in 20."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(2000, 8))
    y = (X[:, 0] * X[:, 1] > 0) ^ (rng.random(2000) < 0.05)
    finding = only("pair_leakage", make(pd.DataFrame(X).add_prefix("x").assign(y=y.astype(int)), label="y"))
    assert finding.status is Status.PASS and finding.value > 0.9


@pytest.mark.parametrize("name", ["target_leakage", "pair_leakage"])
@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None], "y": [0, 1]}),
        pd.DataFrame({"a": [np.nan] * 300, "b": [None] * 300, "c": [{"k": 1}] * 300, "y": [0, 1] * 150}),
        pd.DataFrame(
            {
                "a": range(300),
                "b": pd.date_range("2024", periods=300),
                "c": pd.Categorical(["u", "v", None] * 100),
                "y": ["p"] * 300,
            }
        ),
        pd.DataFrame(
            {
                "a": [1, "x", None] * 100,
                "b": [float("inf"), -1.0, 2.0] * 100,
                "c": [True, False, True] * 100,
                "y": [0, 1, None] * 100,
            }
        ),
    ],
    ids=["two rows", "nothing known", "one class", "mixed"],
)
def test_odd_tables_are_judged_or_skipped(make, only, name, frame):
    """Nothing makes the check crash."""
    assert only(name, make(frame, label="y")).status in (Status.PASS, Status.SKIPPED, Status.WARN)


@pytest.mark.parametrize("source", ["images", "tokens", "multilabel", "diabetes"])
def test_other_data_are_judged_or_skipped(make, only, source):
    """Images and several labels are left out, numbers are looked at."""
    assert only("target_leakage", make(source)).status in (Status.PASS, Status.SKIPPED)
