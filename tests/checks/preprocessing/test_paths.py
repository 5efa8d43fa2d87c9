"""Splits that are prepared differently, learn from each other, or come out at random."""

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, QuantileTransformer, StandardScaler

from firstfault import Splits
from firstfault.finding import Status


def parts_of(splits):
    return splits.train, splits.validation, splits.test


def numbers_of(split):
    return split.X if isinstance(split.X, np.ndarray) else split.X[["age", "income", "children"]].to_numpy(float)


def fitted_on_train(splits):
    scaler = StandardScaler().fit(numbers_of(splits.train))
    return Splits(*((scaler.transform(numbers_of(split)), split.y) for split in parts_of(splits)))


def fitted_on_all(splits):
    scaler = StandardScaler().fit(np.concatenate([numbers_of(split) for split in parts_of(splits)]))
    return Splits(*((scaler.transform(numbers_of(split)), split.y) for split in parts_of(splits)))


def fitted_per_split(splits):
    return Splits(*((StandardScaler().fit_transform(numbers_of(split)), split.y) for split in parts_of(splits)))


def raw_test_split(splits):
    scaler = MinMaxScaler().fit(numbers_of(splits.train))
    return Splits(
        *((scaler.transform(numbers_of(split)), split.y) for split in parts_of(splits)[:2]),
        (numbers_of(splits.test), splits.test.y),
    )


def selected_on_all(splits):
    from sklearn.feature_selection import SelectKBest

    X, y = (
        np.concatenate([split.X for split in parts_of(splits)]),
        np.concatenate([split.y for split in parts_of(splits)]),
    )
    chosen = SelectKBest(k=3).fit(X, y)
    return Splits(*((chosen.transform(split.X), split.y) for split in parts_of(splits)))


def codes_per_split(splits):
    return Splits(*((split.X.assign(city=pd.factorize(split.X["city"])[0]), split.y) for split in parts_of(splits)))


def dummies_of_all(splits):
    whole = pd.get_dummies(pd.concat([split.X for split in parts_of(splits)], ignore_index=True))
    cuts = np.cumsum([len(split.y) for split in parts_of(splits)])[:-1]
    return Splits(
        *((X, split.y) for X, split in zip(np.split(whole.to_numpy(float), cuts), parts_of(splits), strict=True))
    )


def shuffled_without_seed(splits):
    order = np.random.default_rng().permutation(len(splits.train.y))
    return Splits(
        (splits.train.X[order] / 10, splits.train.y[order]),
        (splits.validation.X / 10, splits.validation.y),
        (splits.test.X / 10, splits.test.y),
    )


def train_augmented(splits):
    rng = np.random.default_rng(0)
    X, y = splits.train
    noise = rng.normal(0, 0.3, X.shape) * X.std(0)
    return Splits((X + noise, y), splits.validation, splits.test)


def outliers_dropped_from_train(splits):
    X, y = splits.train
    keep = np.abs((X - X.mean(0)) / X.std(0)).max(1) < 3.5
    return Splits((X[keep], y[keep]), splits.validation, splits.test)


def dealt_anew(splits):
    from sklearn.model_selection import train_test_split

    X, y = (np.concatenate([split[part] for split in parts_of(splits)]) for part in (0, 1))
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=5, stratify=y)
    X, X_held, y, y_held = train_test_split(X, y, test_size=0.2, random_state=5, stratify=y)
    scaler = StandardScaler().fit(X)
    return Splits((scaler.transform(X), y), (scaler.transform(X_held), y_held), (scaler.transform(X_test), y_test))


def batches_of_32(X):
    parts = [X[start : start + 32] for start in range(0, len(X), 32)]
    return np.concatenate([(part - part.mean(0)) / (part.std(0) + 1e-6) for part in parts])


def batches_in_prepare(splits):
    return Splits(*((batches_of_32(split.X), split.y) for split in parts_of(splits)))


PATH_CHECKS = ("fit_on_all_data", "inconsistent_transform", "nondeterministic_transform", "batch_dependent_transform")


def failing(run, subject):
    return {
        fault
        for name in PATH_CHECKS
        for finding in run(name, subject)
        if finding.status is Status.FAIL
        for fault in finding.faults
    }


@pytest.mark.parametrize(
    ("source", "prepare", "fault"),
    [
        ("breast_cancer", fitted_on_all, "fit_on_all_data"),
        ("table", fitted_on_all, "fit_on_all_data"),
        ("breast_cancer", selected_on_all, "fit_on_all_data"),
        ("wine", fitted_per_split, "inconsistent_transform"),
        ("table", fitted_per_split, "inconsistent_transform"),
        ("breast_cancer", raw_test_split, "inconsistent_transform"),
        ("diabetes", fitted_per_split, "inconsistent_transform"),
        ("table", codes_per_split, "inconsistent_transform"),
        ("breast_cancer", batches_in_prepare, "batch_dependent_transform"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_faulty_path_fails_with_its_fault_alone(make, run, source, prepare, fault):
    """Each planted fault fails, and no look-alike does."""
    assert failing(run, make(source, prepare=prepare)) == {fault}


@pytest.mark.parametrize(
    ("source", "prepare"),
    [
        ("breast_cancer", fitted_on_train),
        ("table", fitted_on_train),
        ("diabetes", fitted_on_train),
        ("iris", fitted_on_train),
        ("table", dummies_of_all),
        ("breast_cancer", shuffled_without_seed),
        ("wine", train_augmented),
        ("breast_cancer", outliers_dropped_from_train),
        ("breast_cancer", dealt_anew),
        ("digits", fitted_on_train),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_sound_path_does_not_fail(make, run, source, prepare):
    """Fitting on train, shuffling, augmenting train, dropping outliers and dealing out anew are sound."""
    assert failing(run, make(source, prepare=prepare)) == set()


@pytest.mark.parametrize("source", ["images", "tokens"])
def test_images_and_tokens_that_are_passed_on_do_not_fail(make, run, source):
    """A preparation that changes nothing is sound for images and token ids."""
    assert failing(run, make(source, prepare=lambda splits: splits)) == set()


class RandomFourier:
    """Draws its directions anew in every call."""

    def fit(self, X):
        return self

    def transform(self, X):
        return X @ np.random.normal(size=(X.shape[1], 5))


@pytest.mark.parametrize(
    "step", [RandomFourier(), lambda X: X + np.random.normal(size=X.shape) * X.std(0)], ids=["directions", "noise"]
)
def test_a_random_step_is_nondeterministic(make, run, step):
    """A step that draws without a seed fails as nondeterministic, and as nothing else."""
    assert failing(run, make("breast_cancer", preprocess=step)) == {"nondeterministic_transform"}


def test_batches_scaled_by_themselves_are_batch_dependent(make, only):
    """A function that scales every 32 rows by themselves fails."""
    finding = only("batch_dependent_transform", make("breast_cancer", preprocess=batches_of_32))
    assert finding.status is Status.FAIL
    assert "batch_dependent_transform" in finding.faults


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        QuantileTransformer(n_quantiles=50),
        OneHotEncoder(handle_unknown="ignore"),
        lambda X: np.log1p(np.abs(X)),
    ],
)
def test_fitted_steps_and_row_wise_functions_pass(make, run, step):
    """Scalers, encoders with sparse results and row-wise functions depend on no other row."""
    subject = make("wine", preprocess=step)
    assert [finding.status for finding in run("batch_dependent_transform", subject)] == [Status.PASS]
    assert failing(run, subject) == set()


def test_a_preparation_that_refuses_changed_rows_is_skipped(make, run):
    """User code that raises on changed data gives no verdict about its path."""

    def strict(splits):
        assert np.abs(splits.test.X).max() < 10
        return splits

    X = np.random.default_rng(0).uniform(-1, 1, (200, 4))
    statuses = {
        finding.status
        for name in PATH_CHECKS
        for finding in run(name, make((X, (X[:, 0] > 0).astype(int)), prepare=strict))
    }
    assert Status.FAIL not in statuses
    assert Status.ERROR not in statuses


def test_missing_values_are_compared_as_missing(make, run):
    """A sound preparation that leaves NaN in place does not fail."""
    X = np.random.default_rng(0).normal(size=(300, 4))
    X[::7, 2] = np.nan
    subject = make((X, (X[:, 0] > 0).astype(int)), prepare=lambda splits: splits)
    assert failing(run, subject) == set()


def test_one_row_and_one_class_do_not_crash(make, run):
    """Tiny data are skipped or passed."""
    subject = make((np.ones((1, 3)), np.zeros(1, int)), prepare=lambda splits: splits)
    statuses = {finding.status for name in PATH_CHECKS for finding in run(name, subject)}
    assert statuses <= {Status.PASS, Status.SKIPPED}
