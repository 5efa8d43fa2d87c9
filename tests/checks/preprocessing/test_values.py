"""What preprocessing leaves: finite values, all rows, information, a type the model can use."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler
from torch import nn

from firstfault import Splits
from firstfault.finding import Status


def log_of_negatives(X):
    with np.errstate(all="ignore"):
        return np.log(X - X.mean(0))


def test_the_first_step_that_makes_nan_is_named(make, only):
    """A logarithm of negative numbers in the second of three steps is the place."""
    steps = [("scale", lambda X: X / 10), ("log", log_of_negatives), ("double", lambda X: X * 2)]
    finding = only("nonfinite_output", make("wine", preprocess=steps))
    assert finding.status is Status.FAIL
    assert str(finding.where).startswith("log")
    assert finding.faults == {"nonfinite_output": 0.95}


def test_a_step_inside_a_pipeline_is_named(make, only):
    """The steps of a scikit-learn pipeline are looked at one by one."""
    chain = make_pipeline(StandardScaler(), FunctionTransformer(log_of_negatives))
    assert str(only("nonfinite_output", make("wine", preprocess=chain)).where).startswith("functiontransformer")


def test_values_too_large_for_float32_are_infinite(make, only):
    """1e300 is finite as float64, and infinite for the model."""
    assert only("nonfinite_output", make("wine", preprocess=lambda X: X * 1e300)).status is Status.FAIL


def test_division_by_a_constant_column_is_found(make, only):
    """Standardising a constant column by hand gives NaN."""
    X = np.random.default_rng(0).normal(size=(200, 4))
    X[:, 1] = 3.0
    finding = only(
        "nonfinite_output", make((X, (X[:, 0] > 0).astype(int)), preprocess=lambda X: (X - X.mean(0)) / X.std(0))
    )
    assert finding.status is Status.FAIL


def gappy():
    X = np.random.default_rng(0).normal(size=(300, 4))
    X[::9, 2] = np.nan
    return X, (X[:, 0] > 0).astype(int)


@pytest.mark.parametrize("step", [None, lambda X: X * 2, lambda X: np.nan_to_num(X)])
def test_missing_values_of_the_data_are_not_born_here(make, only, step):
    """NaN that comes in and goes out is the data's fault."""
    assert only("nonfinite_output", make(gappy(), preprocess=step)).status is Status.PASS


def test_a_code_may_become_a_missing_value(make, only):
    """Where a later step imputes it, or the model, as trees, takes it; a network does not."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer

    X, y = gappy()
    frame = pd.DataFrame(X, columns=list("abcd")).fillna(-999).assign(y=y)
    steps = [("unknown", lambda X: X.replace(-999, np.nan)), ("impute", SimpleImputer())]
    trees = lambda: HistGradientBoostingClassifier(max_iter=3)  # noqa: E731
    found = {
        "imputed": make(frame, label="y", preprocess=steps),
        "taken": make(frame, label="y", preprocess=steps[:1], model=trees),
        "not taken": make(frame, label="y", preprocess=steps[:1]),
    }
    passing = {name for name, subject in found.items() if only("nonfinite_output", subject).status is Status.PASS}
    assert passing == {"imputed", "taken"}


def test_an_unmapped_category_is_found(make, only):
    """Mapping text by a dictionary that lacks a city makes NaN; the column is named."""
    step = lambda X: X.assign(city=X["city"].map({"Bern": 0, "Oslo": 1}))  # noqa: E731
    finding = only("nonfinite_output", make("table", preprocess=step))
    assert finding.status is Status.FAIL
    assert "city" in str(finding.where)


def keep(share, with_labels=True):
    def prepare(splits):
        n = int(len(splits.train.y) * share)
        return Splits(
            (splits.train.X[:n], splits.train.y[: n if with_labels else None]), splits.validation, splits.test
        )

    return prepare


@pytest.mark.parametrize(("share", "status"), [(1.0, Status.PASS), (0.95, Status.WARN), (0.5, Status.FAIL)])
def test_lost_rows_are_judged_by_their_share(make, only, share, status):
    """A few lost rows warn, half of them fail."""
    assert only("row_loss", make("digits", prepare=keep(share))).status is status


def test_inputs_lost_without_labels_fail(make, only):
    """A single input without its label fails."""
    finding = only("row_loss", make("digits", prepare=keep(0.999, with_labels=False)))
    assert finding.status is Status.FAIL
    assert "inputs for" in finding.message


def test_a_step_that_drops_rows_fails(make, failures):
    """A step of `preprocess` that drops rows is a loss of rows, whatever else breaks by it."""
    assert "row_loss" in failures(make("digits", preprocess=lambda X: X[X[:, 2] > 0], model=lambda: nn.Linear(64, 10)))


def test_balancing_classes_by_dropping_only_warns(make, only):
    """Undersampling the majority is meant so."""
    X = np.random.default_rng(0).normal(size=(500, 3))
    y = (np.arange(500) % 10 == 0).astype(int)

    def prepare(splits):
        rare = np.flatnonzero(splits.train.y == 1)
        index = np.concatenate([rare, np.flatnonzero(splits.train.y == 0)[: len(rare)]])
        return Splits((splits.train.X[index], splits.train.y[index]), splits.validation, splits.test)

    assert only("row_loss", make((X, y), prepare=prepare)).status is Status.WARN


def test_dropping_duplicates_only_warns(make, only):
    """Dropped copies are no loss."""
    X = np.repeat(np.random.default_rng(0).normal(size=(100, 3)), 3, axis=0)
    y = (X[:, 0] > 0).astype(int)

    def prepare(splits):
        _, index = np.unique(splits.train.X, axis=0, return_index=True)
        return Splits((splits.train.X[index], splits.train.y[index]), splits.validation, splits.test)

    assert only("row_loss", make((X, y), prepare=prepare)).status is Status.WARN


def test_dealing_rows_out_anew_loses_none(make, only):
    """Rows that move to another split are not lost."""

    def prepare(splits):
        X, y = (np.concatenate([split[part] for _, split in splits.items()]) for part in (0, 1))
        n = len(y) // 2
        return Splits((X[:n], y[:n]), (X[n : n + n // 2], y[n : n + n // 2]), (X[n + n // 2 :], y[n + n // 2 :]))

    assert only("row_loss", make("digits", prepare=prepare)).status is Status.PASS


def test_columns_that_all_become_constant_fail(make, only):
    """Clipping everything to one bound loses the information."""
    finding = only("information_loss", make("breast_cancer", preprocess=lambda X: np.clip(X, 1e6, None)))
    assert finding.status is Status.FAIL
    assert finding.faults == {"information_loss": 0.92}


def test_one_column_that_becomes_constant_warns(make, only):
    """One lost column of thirty is a suspicion."""

    def step(X):
        X = X.copy()
        X[:, 3] = 0
        return X

    assert only("information_loss", make("breast_cancer", preprocess=step)).status is Status.WARN


@pytest.mark.parametrize(
    "step", [StandardScaler(), lambda X: (X > 8).astype(float), lambda X: X.reshape(-1, 1, 8, 8) / 16, None]
)
def test_digits_keep_their_information(make, only, step):
    """Scaling, reshaping and black-and-white pixels keep what matters; pixels at the edge are never black."""
    assert only("information_loss", make("digits", preprocess=step)).status is not Status.FAIL


@pytest.mark.parametrize(
    "steps",
    [[("scale", lambda X: X / 16), ("store", lambda X: X.astype(np.uint8))], lambda X: (X / 16).astype(np.uint8)],
    ids=["two steps", "one step"],
)
def test_fractions_cut_to_whole_numbers_are_a_wrong_type(make, failures, steps):
    """Scaling to 0–1 and storing as whole numbers fails as the wrong type, and as nothing else."""
    found = failures(make("digits", preprocess=steps, model=lambda: nn.Linear(64, 10)))
    assert found == {"wrong_dtype"}


def test_rounding_large_numbers_is_harmless(make, only):
    """Ages and cell areas without their fractions are as good as before."""
    model = lambda: nn.Sequential(nn.LazyLinear(3))  # noqa: E731
    step = lambda X: X[["age"]].round()  # noqa: E731
    assert only("wrong_dtype", make("table", preprocess=step, model=model)).status is Status.PASS


def test_floats_for_an_embedding_are_a_wrong_type(make, only):
    """Token ids that became floats are refused by the embedding, and accepted as int64."""
    model = lambda: nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(48, 2))  # noqa: E731
    finding = only("wrong_dtype", make("tokens", preprocess=lambda X: X.astype(np.float32), model=model))
    assert finding.status is Status.FAIL
    assert finding.faults == {"wrong_dtype": 0.92}


def test_scaled_ids_for_an_embedding_are_a_wrong_type(make, only):
    """A model that turns its inputs into ids cuts the fractions off; one that takes ids beside numbers uses both."""

    class Looks(nn.Module):
        def __init__(self, ids):
            super().__init__()
            self.ids, self.words, self.head = ids, nn.Embedding(50, 4), nn.LazyLinear(2)

        def forward(self, x):
            return self.head(torch.cat([self.words(x[:, : self.ids].long()).flatten(1), x[:, self.ids :]], 1))

    scaled = lambda X: X / 50  # noqa: E731
    assert only("wrong_dtype", make("tokens", preprocess=scaled, model=lambda: Looks(12))).faults == {
        "wrong_dtype": 0.92
    }
    beside = lambda X: np.column_stack([X[:, :6], X[:, 6:] / 50])  # noqa: E731
    assert only("wrong_dtype", make("tokens", preprocess=beside, model=lambda: Looks(6))).status is Status.PASS


@pytest.mark.parametrize(
    ("source", "step"),
    [
        ("tokens", None),
        ("digits", None),
        ("iris", KBinsDiscretizer(encode="ordinal", n_bins=8)),
        ("wine", lambda X: X.astype(np.float64)),
        ("wine", OneHotEncoder(handle_unknown="ignore")),
        ("iris", lambda X: torch.as_tensor(X, dtype=torch.float64)),
    ],
)
def test_usable_types_pass(make, only, source, step):
    """Whole numbers, bins, float64 and sparse matrices become what the model takes."""
    model = (
        (lambda: nn.Sequential(nn.Embedding(50, 4), nn.Flatten(), nn.Linear(48, 2)))
        if source == "tokens"
        else lambda: nn.Sequential(nn.LazyLinear(10))
    )
    assert only("wrong_dtype", make(source, preprocess=step, model=model)).status is Status.PASS


def test_statistics_of_every_stage_are_written(make, only):
    """The table of stages lies in the subject's folder as JSON."""
    subject = make("table", preprocess=[("drop", lambda X: X.drop(columns="city")), ("scale", StandardScaler())])
    assert only("stage_statistics", subject).artifacts == ("stages.json",)
    rows = json.loads((subject.folder / "stages.json").read_text())
    assert [(row["stage"], row["split"]) for row in rows][::3] == [
        ("raw", "train"),
        ("drop", "train"),
        ("scale", "train"),
    ]
