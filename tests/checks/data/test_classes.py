"""Classes that train writes otherwise, does not know, or that a split lacks: none is a split cut from sorted rows."""

from functools import partial

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_iris, load_wine

from firstfault.check import Depth, run_checks
from firstfault.finding import Layer, Status

NO_PROFILE = {"profile_alerts": "it suspects nobody, and takes a process of its own"}
WINES = np.array(["Barolo", "Grignolino", "Barbera d'Asti"])


@pytest.fixture
def make(make):
    """Make a subject without a profile."""
    return partial(make, mute=NO_PROFILE)


def faults(subject):
    """The faults that the data layer fails with."""
    report = run_checks(Layer.DATA, subject, Depth.STANDARD)
    assert not [finding for finding in report.findings if finding.status is Status.ERROR], report.findings
    return {fault for finding in report.failures for fault in finding.faults}


def parted(load, rename=lambda y: y, written=lambda y: y):
    """A data set, shuffled, of which a third is a test that writes its labels in another way."""
    X, y = load(return_X_y=True)
    order = np.random.default_rng(3).permutation(len(y))
    X, y = X[order], rename(y[order])
    cut = len(y) * 2 // 3
    held = np.array([written(label) for label in y[cut:].tolist()])
    return (X[:cut], y[:cut]), {"test": (X[cut:], held)}


@pytest.mark.parametrize(
    "written",
    [lambda y: f"{y}.", str.upper, lambda y: f" {y}\t", lambda y: f'"{y.replace(" ", "_")}"'],
    ids=["a dot", "case", "blanks", "quotes"],
)
def test_labels_that_train_writes_otherwise_are_told_with_theirs(make, only, written):
    """The finding shows a label and the training label that it is meant for; no class is missing, nothing drifted."""
    train, data = parted(load_wine, lambda y: WINES[y], written)
    subject = make(train, data=data)
    finding = only("missing_class", subject)
    assert finding.faults == {"unseen_category": 0.95} and f"for {'Barolo'!r}" in finding.message
    assert faults(subject) == {"unseen_category"}


def test_numbers_that_are_written_otherwise_are_told(make, only):
    """Classes 0 to 9, and texts of 0.0 to 9.0."""
    train, data = parted(load_digits, written=lambda y: f"{float(y)}")
    assert only("missing_class", make(train, data=data)).faults == {"unseen_category": 0.95}


def test_labels_of_another_code_are_missing_classes_and_no_sorted_split(make):
    """Cultivars by name in train, and by letter in test."""
    train, data = parted(load_iris, lambda y: np.array(["setosa", "versicolor", "virginica"])[y], lambda y: y[2:4])
    assert faults(make(train, data=data)) == {"missing_class"}


def test_labels_that_are_written_alike_are_no_finding(make):
    """The same rows without another spelling."""
    train, data = parted(load_wine, lambda y: WINES[y])
    assert faults(make(train, data=data)) == set()


def test_labels_that_differ_by_their_sign_are_two_classes(make, only):
    """No training label is meant by −1."""
    X, y = load_iris(return_X_y=True)
    data = {"test": (X[50:], np.where(y[50:] == 2, -1, 1))}
    assert only("missing_class", make((X[:100], y[:100]), data=data)).faults == {"missing_class": 0.95}


@pytest.fixture
def folders(tmp_path):
    """A function that writes digits below 4 as images, of which some classes go without a validation folder."""

    def write(without=(), of="validation"):
        X, y = load_digits(n_class=4, return_X_y=True)
        for number, (pixels, label) in enumerate(zip(X, y, strict=True)):
            split = ("train", "train", "validation", "test")[number % 4]
            place = tmp_path / split / f"digit{label}"
            if split == of and label in without:
                continue
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels.reshape(8, 8) * 15).astype(np.uint8)).save(place / f"{number}.png")
        return tmp_path

    return write


@pytest.mark.parametrize(("of", "without"), [("validation", (3,)), ("validation", (1, 2, 3)), ("train", (0,))])
def test_a_folder_that_lacks_a_class_is_a_missing_class(make, folders, of, without):
    """Images are read class by class, which makes no sorted split of them."""
    root = folders(without, of)
    subject = make(root / "train", data={"validation": root / "validation", "test": root / "test"})
    found = faults(subject)
    assert "missing_class" in found and "degenerate_split" not in found


def test_folders_of_all_classes_are_no_finding(make, folders):
    """The same images with every class."""
    root = folders()
    data = {"validation": root / "validation", "test": root / "test"}
    assert not {"missing_class", "degenerate_split", "label_drift"} & faults(make(root / "train", data=data))


def test_rows_read_class_by_class_are_no_sorted_split(make):
    """Arrays as a loader of folders gives them: each split in the order of its classes, test without one."""
    X, y = load_digits(n_class=5, return_X_y=True)
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    kept = y[1::3] != 2
    data = {"validation": (X[2::3], y[2::3]), "test": (X[1::3][kept], y[1::3][kept])}
    found = faults(make((X[::3], y[::3]), data=data))
    assert "missing_class" in found and "degenerate_split" not in found
