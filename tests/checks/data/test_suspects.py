"""Wrong labels: share estimated, rows listed and drawn; hard, imbalanced and clean labels are left alone."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from firstfault.finding import Status

LETTERS = [first + second for first in "abcdefgh" for second in "klmnopqr"]
CODES = np.array(["north", "south", "east", "west", "centre"])


def customers(n=3000, classes=2, strength=8.0, seed=0):
    """Numbers, counts and categories in 20 columns, of which 5 decide the class as far as `strength` says."""
    rng = np.random.default_rng(seed)
    amounts, spending = rng.normal(50, 9, (n, 6)), rng.lognormal(2, 0.8, (n, 6))
    visits, places = rng.integers(0, 20, (n, 5)), rng.integers(0, 5, (n, 3))
    frame = pd.DataFrame(np.hstack([amounts, spending, visits]), columns=[f"c{i}" for i in range(17)])
    for column in range(3):
        frame[f"place{column}"] = CODES[places[:, column]]
    effect = rng.normal(size=5)
    known = np.stack(
        [
            (amounts[:, 0] - 50) / 9,
            (amounts[:, 1] - 50) / 9,
            (np.log(spending[:, 0]) - 2) / 0.8,
            (visits[:, 0] - 9.5) / 5.8,
            effect[places[:, 0]],
        ],
        1,
    )
    scores = known @ rng.normal(size=(5, classes)) * strength / 2
    chances = np.exp(scores - scores.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    return frame.assign(target=(chances.cumsum(1) < rng.random(n)[:, None]).sum(1).clip(0, classes - 1))


def changed(frame, share, seed=0, only=None):
    """The frame with a share of its labels (of one class only) made another class, and which."""
    rng = np.random.default_rng(seed)
    y, classes = frame["target"].to_numpy(), frame["target"].nunique()
    wrong = rng.random(len(y)) < share
    wrong &= True if only is None else y == only
    return frame.assign(target=np.where(wrong, (y + rng.integers(1, classes, len(y))) % classes, y)), wrong


@pytest.mark.parametrize(("classes", "share"), [(2, 0.05), (3, 0.2), (10, 0.1)])
def test_the_share_of_wrong_labels_is_estimated(make, only, classes, share):
    """Within 2.5 points of what was planted, for few and many classes."""
    frame, wrong = changed(customers(4000, classes, 10.0, seed=classes), share, seed=1)
    finding = only("labels_against_inputs", make(frame, label="target"))
    assert finding.status is Status.FAIL
    assert finding.faults == {"label_noise": 0.75}
    assert finding.value == pytest.approx(wrong.mean(), abs=0.025)
    assert "label_suspects.csv" in finding.artifacts


def opinions(wrong, n=1000):
    """Texts of common words with two that praise or blame, and what they do; a share of it is turned round."""
    rng = np.random.default_rng(3)
    words, praise = rng.integers(0, 40, (n, 12)), rng.random(n) < 0.5
    marks = 40 + rng.integers(0, 8, (n, 2)) + 8 * praise[:, None]
    texts = [" ".join(f"w{LETTERS[word]}" for word in row) for row in np.hstack([words, marks])]
    return pd.DataFrame({"text": texts, "target": (praise ^ (rng.random(n) < wrong)).astype(int)})


@pytest.mark.parametrize(("wrong", "status"), [(0.0, Status.PASS), (0.3, Status.FAIL)])
def test_many_wrong_labels_of_texts_are_found(make, only, wrong, status):
    """Of three labels in ten a linear model of hundreds of words would learn the wrong ones by heart."""
    assert only("labels_against_inputs", make(opinions(wrong), label="target")).status is status


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_wrong_in_one_direction_are_found(make, only, seed):
    """A fifth of one class was taken for the other."""
    frame, _ = changed(customers(4000, seed=seed + 20), 0.2, only=0)
    assert only("labels_against_inputs", make(frame, label="target")).faults == {"label_noise": 0.75}


@pytest.mark.parametrize(
    "frame",
    [
        customers(3500, 2, 8.0, 30),
        customers(3500, 2, 1.5, 31),
        customers(3000, 3, 1.5, 32),
        customers(3500, 10, 8.0, 33),
        customers(500, 2, 3.0, 34),
        customers(9000, 2, 3.0, 35).query("target == 1 or index % 30 == 0"),
    ],
    ids=["clear", "weak", "weak, 3 classes", "10 classes", "few rows", "imbalanced"],
)
def test_clean_labels_are_healthy(make, only, frame):
    """However weak the signal is, and however rare a class."""
    assert only("labels_against_inputs", make(frame.reset_index(drop=True), label="target")).status is Status.PASS


def test_wrong_labels_of_images_are_drawn(make, only, drawn):
    """Of 10 % planted in digits, most of the list is wrong indeed, and the gallery lies beside it."""
    digits = load_digits()
    rng = np.random.default_rng(0)
    wrong = rng.random(len(digits.target)) < 0.1
    y = np.where(wrong, (digits.target + rng.integers(1, 10, len(wrong))) % 10, digits.target)
    subject = make((digits.images[:, None], y))
    assert only("labels_against_inputs", subject).value == pytest.approx(0.1, abs=0.02)
    finding = only("label_suspects", subject)
    assert finding.artifacts == ("label_suspects.svg", "label_suspects.csv")
    texts, size = drawn(subject, "label_suspects.svg")
    assert sum(" → " in text for text in texts) == 17 and size < 60_000
    listed = pd.read_csv(subject.folder / "label_suspects.csv")
    true = {image.tobytes(): label for image, label in zip(digits.images, digits.target, strict=True)}
    rows = subject.raw.train.X[listed["train_row"].to_numpy()]
    assert (np.array([true[row.tobytes()] for row in rows]) == listed["likely_label"]).mean() > 0.85


def test_the_list_masks_personal_values(make, only):
    """E-mail addresses are not written, other values are, and rows are named by their place in train."""
    frame, _ = changed(customers(900, seed=5), 0.15)
    frame.insert(0, "email", [f"ada.{i}@mail.org" for i in range(len(frame))])
    subject = make(frame, label="target")
    assert only("label_suspects", subject).status is Status.PASS
    listed = pd.read_csv(subject.folder / "label_suspects.csv")
    assert "@" not in (subject.folder / "label_suspects.csv").read_text()
    assert listed["c0"].to_numpy() == pytest.approx(subject.raw.train.X["c0"].to_numpy()[listed["train_row"]])
    assert listed.shape[1] <= 4 + 12


def test_what_has_no_classes_is_skipped(make, only):
    """Regression, several labels per row, few rows."""
    for subject in (make("diabetes"), make("multilabel"), make(customers(60), label="target")):
        assert only("label_suspects", subject).status is Status.SKIPPED
        assert only("labels_against_inputs", subject).status is Status.SKIPPED


def test_odd_columns_are_no_obstacle(make, only):
    """Missing, infinite, constant, boolean and mixed columns."""
    frame = load_breast_cancer(as_frame=True).frame
    frame["none"], frame["one"], frame["yes"] = np.nan, 1, frame.index % 2 == 0
    frame["mixed"] = [1 if i % 2 else "two" for i in range(len(frame))]
    frame.iloc[::9, 0], frame.iloc[1::9, 1] = np.nan, np.inf
    for name in (
        "labels_against_inputs",
        "label_suspects",
        "weak_slices",
        "embedding_map",
        "noisy_rows",
        "rows_in_order",
    ):
        assert only(name, make(frame, label="target")).status in (Status.PASS, Status.WARN)


@pytest.mark.parametrize("source", ["table", "digits", "diabetes", "images"])
def test_a_map_of_the_rows_is_drawn(make, only, drawn, source):
    """Classes or values, tables or images."""
    subject = make(source, label="kind" if source == "table" else None)
    finding = only("embedding_map", subject)
    assert finding.status is Status.PASS
    assert 0 < finding.value <= 1
    texts, size = drawn(subject, "embedding_map.svg")
    assert {"first principal component", "second principal component"} <= set(texts) and size < 50_000


def test_no_map_without_rows_or_one_label_each(make, only):
    """Twenty rows, and several labels per row."""
    assert only("embedding_map", make(customers(20), label="target")).status is Status.SKIPPED
    assert only("embedding_map", make("multilabel")).status is Status.SKIPPED
