"""Labels that part from their inputs, and preparations that move both together."""

import numpy as np
import pandas as pd
import pytest

from firstfault import Splits
from firstfault.finding import Status

SOURCES = ["breast_cancer", "iris", "digits", "diabetes", "images", "tokens", "multilabel", "table"]


def rows(X, index):
    return X.iloc[index] if isinstance(X, pd.DataFrame) else X[index]


def shuffle_inputs(splits):
    order = np.random.default_rng(3).permutation(len(splits.train.y))
    return Splits((rows(splits.train.X, order), splits.train.y), splits.validation, splits.test)


def shuffle_both(splits):
    order = np.random.default_rng(3).permutation(len(splits.train.y))
    return Splits((rows(splits.train.X, order), splits.train.y[order]), splits.validation, splits.test)


@pytest.mark.parametrize("source", SOURCES)
def test_inputs_shuffled_without_labels_are_found(make, only, source):
    """Shuffling the training inputs alone fails, on any kind of data."""
    finding = only("misaligned_labels", make(source, prepare=shuffle_inputs))
    assert finding.status is Status.FAIL
    assert finding.faults == {"misaligned_labels": 0.95}
    assert "train" in str(finding.where)


@pytest.mark.parametrize("source", SOURCES)
def test_inputs_shuffled_with_labels_pass(make, only, source):
    """Shuffling inputs and labels together passes, on any kind of data."""
    assert only("misaligned_labels", make(source, prepare=shuffle_both)).status is Status.PASS


@pytest.mark.parametrize("part", [1, 2])
def test_a_held_out_split_is_examined_too(make, only, part):
    """Sorting the labels of validation or test alone fails, and names the split."""

    def prepare(splits):
        parts = [tuple(split) for _, split in splits.items()]
        parts[part] = (parts[part][0], parts[part][1][::-1])
        return Splits(*parts)

    finding = only("misaligned_labels", make("breast_cancer", prepare=prepare))
    assert finding.status is Status.FAIL
    assert ("validation", "test")[part - 1] in str(finding.where)


def test_an_offset_of_one_row_is_found(make, only):
    """Labels that are one row late fail."""

    def prepare(splits):
        return Splits((splits.train.X[1:], splits.train.y[:-1]), splits.validation, splits.test)

    assert only("misaligned_labels", make("wine", prepare=prepare)).status is Status.FAIL


def with_gaps():
    X = np.random.default_rng(0).normal(size=(900, 6))
    y = (X[:, 0] > 0).astype(int)
    X[np.random.default_rng(1).random(900) < 0.05, 3] = np.nan
    return X, y


def test_rows_dropped_from_inputs_and_labels_truncated_are_found(make, only):
    """Dropping rows with gaps and cutting the labels to the same length fails."""

    def prepare(splits):
        def clean(split):
            kept = split.X[~np.isnan(split.X).any(1)]
            return kept, split.y[: len(kept)]

        return Splits(*(clean(split) for _, split in splits.items()))

    assert only("misaligned_labels", make(with_gaps(), prepare=prepare)).status is Status.FAIL


def test_rows_dropped_with_their_labels_pass(make, only):
    """Dropping rows with gaps together with their labels passes."""

    def prepare(splits):
        keep = [~np.isnan(split.X).any(1) for _, split in splits.items()]
        return Splits(*((split.X[mask], split.y[mask]) for mask, (_, split) in zip(keep, splits.items(), strict=True)))

    assert only("misaligned_labels", make(with_gaps(), prepare=prepare)).status is Status.PASS


def test_a_step_that_sorts_its_rows_is_named(make, only):
    """A preprocess step that sorts rows parts them from their labels; the finding names the step."""
    steps = [("scale", lambda X: X / X.max(0)), ("tidy", lambda X: X[np.argsort(X[:, 0])])]
    finding = only("misaligned_labels", make("breast_cancer", preprocess=steps))
    assert finding.status is Status.FAIL
    assert "tidy" in str(finding.where)


def scaled_selected(splits):
    from sklearn.decomposition import PCA
    from sklearn.feature_selection import SelectKBest
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chain = make_pipeline(StandardScaler(), SelectKBest(k=4), PCA(2)).fit(splits.train.X, splits.train.y)
    return Splits(*((chain.transform(split.X), split.y) for _, split in splits.items()))


def target_encoded(splits):
    from sklearn.preprocessing import TargetEncoder

    encoder = TargetEncoder(random_state=0, target_type="multiclass")
    train = encoder.fit_transform(splits.train.X[["city", "children"]], splits.train.y)
    others = [encoder.transform(split.X[["city", "children"]]) for split in (splits.validation, splits.test)]
    return Splits(
        (np.column_stack([train, splits.train.X["age"]]), splits.train.y),
        *(
            (np.column_stack([X, split.X["age"]]), split.y)
            for X, split in zip(others, (splits.validation, splits.test), strict=True)
        ),
    )


def balanced(splits):
    from sklearn.utils import resample

    X, y = splits.train
    counts = pd.Series(y).value_counts()
    index = np.concatenate(
        [
            resample(np.flatnonzero(y == name), n_samples=counts.min(), replace=False, random_state=0)
            for name in counts.index
        ]
    )
    return Splits((X[index], y[index]), splits.validation, splits.test)


def noisy_train(splits):
    noise = np.random.default_rng(0).normal(0, 0.1, splits.train.X.shape)
    return Splits((splits.train.X + noise * splits.train.X.std(0), splits.train.y), splits.validation, splits.test)


def dealt_anew(splits):
    from sklearn.model_selection import train_test_split

    X, y = (np.concatenate([split[part] for _, split in splits.items()]) for part in (0, 1))
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=5, stratify=y)
    X, X_validation, y, y_validation = train_test_split(X, y, test_size=0.2, random_state=5, stratify=y)
    return Splits((X, y), (X_validation, y_validation), (X_test, y_test))


def derived_labels(splits):
    return Splits(*((split.X, (split.X[:, 0] > 14).astype(int)) for _, split in splits.items()))


def one_column(splits):
    return Splits(*(((split.X[:, :1] > 14).astype(float), split.y) for _, split in splits.items()))


@pytest.mark.parametrize(
    "prepare",
    [scaled_selected, balanced, noisy_train, dealt_anew, derived_labels, one_column],
    ids=lambda f: f.__name__,
)
def test_legitimate_preparations_do_not_fail(make, only, prepare):
    """Selecting, balancing, augmenting, dealing out anew and deriving labels are no misalignment."""
    assert only("misaligned_labels", make("breast_cancer", prepare=prepare)).status is not Status.FAIL


def test_a_target_encoder_does_not_fail(make, only):
    """Encodings that are made of the labels keep inputs and labels together."""
    assert only("misaligned_labels", make("table", prepare=target_encoded)).status is not Status.FAIL


def test_a_class_of_its_own_only_is_skipped(make, only):
    """With one class there are no two labels to mark rows with."""
    X = np.random.default_rng(0).normal(size=(100, 3))
    assert only("misaligned_labels", make((X, np.zeros(100, int)), preprocess=np.array)).status is Status.SKIPPED


def test_a_few_rows_are_skipped(make, only):
    """Ten rows are too few to follow."""
    X = np.random.default_rng(0).normal(size=(10, 3))
    assert only("misaligned_labels", make((X, np.arange(10) % 2), preprocess=np.array)).status is Status.SKIPPED
