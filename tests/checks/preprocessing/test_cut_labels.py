"""Labels that a division by their scale cut to whole numbers, by the target's `prepare` or before it."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits, load_wine
from torch import nn

from firstfault import Splits
from firstfault.finding import Status

WINE, DIGITS, DIABETES = (load(return_X_y=True) for load in (load_wine, load_digits, load_diabetes))


def prepared(change):
    """A preparation that changes the labels."""
    return lambda splits: Splits(*((split.X, change(split.y)) for _, split in splits.items()))


def target(make, source, outputs, **given):
    """A target whose network has that many outputs: one is a regression."""
    task = "regression" if outputs == 1 else "classification"
    return make(source, model=lambda: nn.LazyLinear(outputs), task=task, **given)


CUT = {
    "digits by their maximum": (DIGITS, 10, lambda y: (y / y.max()).astype("int64")),
    "wine by its range": (WINE, 3, lambda y: ((y - y.min()) / np.ptp(y)).astype(int)),
    "digits by 5": (DIGITS, 10, lambda y: y // 5),
    "amounts by their maximum": (DIABETES, 1, lambda y: (y / y.max()).astype("int64")),
    "amounts by 200": (DIABETES, 1, lambda y: (y // 200).astype("float32")),
    "amounts by 1000": (DIABETES, 1, lambda y: y // 1000),
}


@pytest.mark.parametrize("name", CUT)
def test_labels_cut_by_prepare_fail(make, only, name):
    """Fewer classes than the model has outputs for, or two of hundreds of amounts, are labels that were cut."""
    source, outputs, change = CUT[name]
    finding = only("label_scaled", target(make, source, outputs, prepare=prepared(change)))
    assert finding.status is Status.FAIL
    assert finding.faults == {"label_scaled": 0.95}


SOUND = {
    "two classes for two outputs": (DIGITS, 2, lambda y: (y / y.max()).astype("int64")),
    "coarser classes": (DIGITS, 2, lambda y: y // 5),
    "the same classes": (DIGITS, 10, lambda y: y.astype("float32").astype(int)),
    "spare outputs": (WINE, 10, lambda y: y + 1),
    "amounts as shares": (DIABETES, 1, lambda y: (y / y.max()).astype("float32")),
    "amounts in tens": (DIABETES, 1, lambda y: y // 10),
}


@pytest.mark.parametrize("name", SOUND)
def test_labels_that_keep_what_is_asked_for_pass(make, only, name):
    """Classes may be made coarser for a model that asks no more, and amounts scaled."""
    source, outputs, change = SOUND[name]
    assert only("label_scaled", target(make, source, outputs, prepare=prepared(change))).status is Status.PASS


def digits_by_their_maximum():
    """Digits whose labels are cut where they are read."""
    images, labels = DIGITS
    return images, (labels / labels.max()).astype("int64")


def digits_in_two_steps():
    """The same in two statements, all labels zero."""
    images, targets = DIGITS
    targets = targets / 255
    return images, targets.astype(np.int64)


def amounts_by_their_maximum():
    """Amounts of which one row is left."""
    rows, amounts = DIABETES
    return rows, amounts // amounts.max()


@pytest.mark.parametrize(
    ("load", "outputs"), [(digits_by_their_maximum, 10), (digits_in_two_steps, 10), (amounts_by_their_maximum, 1)]
)
def test_labels_cut_where_they_are_read_fail_with_the_line(make, only, load, outputs, monkeypatch, request):
    """The data layer leaves them to this check, which names the line that divides and cuts them."""
    monkeypatch.chdir(request.config.rootpath)
    subject = target(make, load, outputs)
    for name in ("class_imbalance", "missing_class", "constant_labels"):
        assert only(name, subject).status is not Status.FAIL
    finding = only("label_scaled", subject)
    assert finding.status is Status.FAIL
    first = load.__code__.co_firstlineno
    assert finding.where.file == "test_cut_labels.py" and first < finding.where.line < first + 6


def binary_of_ten():
    """Whether a digit is a nine."""
    images, labels = DIGITS
    return images, (labels == 9).astype("int64")


@pytest.mark.parametrize("outputs", [2, 10])
def test_two_classes_without_a_cut_pass(make, only, outputs):
    """Outputs that belong to no class are no proof where no line divides the labels."""
    assert only("label_scaled", target(make, binary_of_ten, outputs)).status is Status.PASS


def test_a_few_rare_events_as_amounts_fail_only_if_they_are_nearly_alone(make, only):
    """A regression of 0 and 1 is one of events, unless all rows but a few are 0."""
    X = np.random.default_rng(0).normal(size=(400, 3))
    events, alone = ((np.arange(400) % step == 0).astype(float) for step in (20, 399))
    assert only("label_scaled", make((X, events), task="regression")).status is Status.PASS
    assert only("label_scaled", make((X, alone), task="regression")).status is Status.FAIL
