"""Labels that no task can be learnt from are named; few, rare, rounded and far-flung numbers are healthy labels."""

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from firstfault import Splits
from firstfault.finding import Status

ROWS = 400


def amounts(n=ROWS, seed=0):
    """Inputs and a number that they tell but for a little noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    return X, X @ rng.normal(size=5) + 0.3 * rng.normal(size=n)


def with_values(y, value, rows=slice(0, 20)):
    """The labels with another value in some rows."""
    changed = np.asarray(y).astype(object if isinstance(value, str) else None)
    changed[rows] = value
    return changed


BAD = {
    "some are infinite": ("regression", lambda y: with_values(y, np.inf, slice(0, ROWS, 20)), "missing_values"),
    "some are minus infinity": ("regression", lambda y: with_values(y, -np.inf, slice(0, ROWS, 20)), "missing_values"),
    "all are infinite": ("regression", lambda y: np.full(ROWS, np.inf), "missing_values"),
    "infinity as text": (
        "regression",
        lambda y: with_values([f"{v:.2f}" for v in y], "inf", slice(0, ROWS, 20)),
        "missing_values",
    ),
    "one of two columns": (
        "regression",
        lambda y: np.column_stack([y, with_values(y, np.inf, slice(0, ROWS, 20))]),
        "missing_values",
    ),
    "several labels": (
        "multilabel",
        lambda y: np.column_stack([y > 0, with_values((y > 1) * 1.0, np.inf, slice(0, ROWS, 20))]),
        "missing_values",
    ),
    "a class": ("classification", lambda y: with_values((y > 0) * 1.0, np.inf, slice(0, ROWS, 20)), "missing_values"),
    "too large for float32": ("regression", lambda y: y * 1e300, "out_of_range"),
    "texts": ("regression", lambda y: np.where(y > 0, "high", "low"), "task_mismatch"),
    "sentences": ("regression", lambda y: np.array([f"row {number}" for number in range(ROWS)]), "type_change"),
    "a word among numbers": (
        "regression",
        lambda y: with_values([f"{v:.2f}" for v in y], "unknown", slice(0, ROWS, 20)),
        "type_change",
    ),
    "dates": ("regression", lambda y: pd.date_range("2020", periods=ROWS).to_numpy(), "type_change"),
    "dates of Python": (
        "regression",
        lambda y: np.array([date(2020, 1, 1) + timedelta(number) for number in range(ROWS)]),
        "type_change",
    ),
    "durations": ("regression", lambda y: pd.to_timedelta(np.arange(ROWS), unit="h").to_numpy(), "type_change"),
    "complex numbers": ("regression", lambda y: y + 1j, "type_change"),
    "ratings of several": ("multilabel", lambda y: np.column_stack([np.round(np.abs(y)) * 2, y > 0]), "task_mismatch"),
}


@pytest.mark.parametrize("name", BAD)
def test_labels_that_the_task_cannot_take_are_named(make, only, name):
    """By the fault, with how many there are."""
    task, spoil, fault = BAD[name]
    X, y = amounts()
    finding = only("unusable_labels", make((X, spoil(y)), task=task))
    assert finding.status is Status.FAIL and set(finding.faults) == {fault} and finding.value > 0


@pytest.mark.parametrize("split", ["validation", "test"])
def test_infinite_labels_of_a_held_out_split_are_named(make, only, split):
    """They spoil the score, though nothing is learnt from them."""
    held_X, held_y = amounts(60, 1)
    finding = only(
        "unusable_labels",
        make(amounts(), task="regression", data={split: (held_X, with_values(held_y, np.inf, slice(0, 3)))}),
    )
    assert finding.status is Status.FAIL and str(finding.where) == f"{split} labels" and finding.value == 3


@pytest.mark.parametrize(
    "name, change",
    [("numbers as text", lambda y: np.array([f"{value:.1f}" for value in y])), ("yes or no", lambda y: y > 0)],
)
def test_labels_that_are_read_as_numbers_are_a_warning(make, only, name, change):
    """Nothing is lost by them, and a reader may have meant otherwise."""
    X, y = amounts()
    finding = only("unusable_labels", make((X, change(y)), task="regression"))
    assert finding.status is Status.WARN and not finding.faults


def test_what_prepare_mends_is_a_warning(make, only):
    """A user's own code may make numbers of texts, and drop infinite ones."""
    X, y = amounts()

    def prepare(splits):
        return Splits(*((split.X, np.where(np.isinf(split.y), 0.0, split.y)) for _, split in splits.items()))

    spoilt = (X, with_values(y, np.inf, slice(0, ROWS, 20)))
    assert only("unusable_labels", make(spoilt, task="regression", prepare=prepare)).status is Status.WARN
    assert only("unusable_labels", make(spoilt, task="regression", prepare=lambda splits: splits)).status is Status.FAIL


HEALTHY = {
    "plain": lambda y: y,
    "ratings": lambda y: np.clip(np.round(y + 3), 1, 5),
    "counts": lambda y: np.random.default_rng(0).poisson(np.exp(y / 3)),
    "heavy tails": lambda y: np.exp(3 * y),
    "Cauchy": lambda y: y + np.random.default_rng(0).standard_cauchy(ROWS),
    "many zeros": lambda y: np.where(y < np.quantile(y, 0.95), 0.0, y),
    "rounded": lambda y: np.round(y),
    "zero or one": lambda y: (y > 0) * 1.0,
    "decimals": lambda y: np.array([Decimal(f"{value:.2f}") for value in y]),
    "whole numbers, some None": lambda y: with_values(np.round(y).astype(int).astype(object), None, slice(0, 2)),
    "two columns": lambda y: np.column_stack([y, np.round(y)]),
    "pictures": lambda y: np.tile(y[:, None, None], (1, 4, 4)),
}


@pytest.mark.parametrize("check", ["unusable_labels", "constant_labels"])
@pytest.mark.parametrize("name", HEALTHY)
def test_numbers_of_every_shape_are_healthy_labels(make, only, name, check):
    """Few values, far values, many zeros and rounded ones are amounts like others."""
    X, y = amounts()
    assert only(check, make((X, HEALTHY[name](y)), task="regression")).status is Status.PASS


CONSTANT = {
    "a number": ("regression", lambda y: np.full(ROWS, 3.5), "random_labels"),
    "text": ("regression", lambda y: np.full(ROWS, "3.5"), "random_labels"),
    "pictures": ("regression", lambda y: np.zeros((ROWS, 4, 4)), "random_labels"),
    "one of two columns": ("regression", lambda y: np.column_stack([y, np.zeros(ROWS)]), "random_labels"),
    "a label that no row has": ("multilabel", lambda y: np.column_stack([y > 0, y > 1e9]), "missing_class"),
}


@pytest.mark.parametrize("name", CONSTANT)
def test_a_label_that_never_varies_is_named(make, only, name):
    """There is nothing to learn."""
    task, spoil, fault = CONSTANT[name]
    X, y = amounts()
    finding = only("constant_labels", make((X, spoil(y)), task=task))
    assert finding.status is Status.FAIL and finding.faults == {fault: 0.95}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_label_that_is_constant_in_one_split_is_a_degenerate_split(make, only, split):
    """A random split of labels that vary would hardly come out so."""
    held_X, _ = amounts(30, 1)
    finding = only("constant_labels", make(amounts(), task="regression", data={split: (held_X, np.full(30, 1.0))}))
    assert (
        finding.status is Status.FAIL
        and finding.faults == {"degenerate_split": 0.9}
        and str(finding.where) == f"{split} labels"
    )


def test_a_split_that_is_all_zeros_by_chance_is_healthy(make, only):
    """Of labels that are zero but for a few, a small split often holds zeros only."""
    X, y = amounts()
    held_X, _ = amounts(30, 1)
    rare = np.where(y < np.quantile(y, 0.97), 0.0, y)
    assert (
        only("constant_labels", make((X, rare), task="regression", data={"validation": (held_X, np.zeros(30))})).status
        is Status.PASS
    )


def test_constant_places_of_inputs_that_are_restored_are_no_fault(make, only):
    """The border of a picture is empty in all of them."""
    X, _ = amounts()
    X[:, 0] = 0.0
    assert only("constant_labels", make((X, X.copy()), task="regression")).status is Status.WARN


AMOUNTS = {
    "fractions": lambda y: y,
    "rounded to a tenth": lambda y: np.round(y, 1),
    "prices": lambda y: (200_000 + 30_000 * y).astype(int),
    "fractions as text": lambda y: np.array([f"{value:.3f}" for value in y]),
    "one column": lambda y: y[:, None],
}


@pytest.mark.parametrize("name", AMOUNTS)
def test_amounts_under_classification_are_told_as_another_task(make, only, name):
    """Nearly every row has a label of its own: the remedy is a regression, not another split."""
    X, y = amounts()
    subject = make((X, AMOUNTS[name](y)))
    finding = only("continuous_labels", subject)
    assert (
        finding.status is Status.FAIL
        and finding.faults == {"task_mismatch": 0.95}
        and 'task="regression"' in finding.fix
    )
    assert only("missing_class", subject).status is Status.SKIPPED


CLASSES = {
    "ordinal fractions": lambda rng: rng.integers(1, 4, 600) * 1.0,
    "half steps": lambda rng: rng.integers(2, 21, 600) / 2,
    "120 names": lambda rng: np.array([f"class {number}" for number in rng.integers(0, 120, 600)]),
    "1,000 ids": lambda rng: 5_000 + rng.integers(0, 1_000, 1_500),
    "codes as text": lambda rng: np.array([f"{number:05d}" for number in rng.integers(0, 90_000, 600)]),
    "yes or no": lambda rng: rng.integers(0, 2, 600) == 1,
}


@pytest.mark.parametrize("name", CLASSES)
def test_many_classes_are_classes(make, only, name):
    """However many there are, and whatever they are called."""
    rng = np.random.default_rng(0)
    y = CLASSES[name](rng)
    assert only("continuous_labels", make((rng.normal(size=(len(y), 4)), y))).status is Status.PASS


def test_amounts_that_prepare_makes_classes_of_are_healthy(make, only):
    """A user's own code may make classes of amounts by bins."""

    def prepare(splits):
        return Splits(*((split.X, (split.y > 0).astype(int)) for _, split in splits.items()))

    assert only("continuous_labels", make(amounts(), prepare=prepare)).status is Status.PASS


def test_infinite_numbers_do_not_break_the_expectations(make, run):
    """A range is inferred from the finite ones."""
    X, y = amounts()
    for spoilt in (with_values(y, np.inf, slice(0, ROWS, 20)), np.full(ROWS, np.inf), y * 1e307):
        assert {finding.status for finding in run("expectations", make((X, spoilt), task="regression"))} <= {
            Status.PASS,
            Status.SKIPPED,
            Status.WARN,
        }
