"""Sequences that are cut: where the label is in what was cut, where it is not, and where nothing is."""

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from torch import nn

from firstfault import Splits
from firstfault.finding import Status

WORDS = np.array(
    [
        f"{first}{second}"
        for first in ("ba", "ko", "ri", "su", "te", "lo", "mi")
        for second in ("nan", "rel", "tis", "dor", "vek", "pul")
    ]
)


def sentences(n=400, place="end", seed=0):
    """Texts of 12–60 words; the class is told by two words that stand at the start, at the end, or anywhere."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    rows = []
    for label in y:
        words = rng.choice(WORDS, rng.integers(12, 60)).tolist()
        at = {"start": 1, "end": len(words) - 1, "anywhere": int(rng.integers(len(words)))}[place]
        rows.append([*words[:at], ("awful", "great")[label], *words[at:]])
    return rows, y


def texts(place="end", **more):
    rows, y = sentences(place=place, **more)
    return pd.DataFrame({"review": [" ".join(row) for row in rows], "label": y})


def lists(place="end"):
    rows, y = sentences(place=place)
    codes = {word: code for code, word in enumerate(sorted({word for row in rows for word in row}), start=1)}
    X = np.empty(len(rows), dtype=object)
    for index, row in enumerate(rows):
        X[index] = [codes[word] for word in row]
    return X, y


def padded(place="end", length=64):
    X, y = lists(place)
    return np.array([(row + [0] * length)[:length] for row in X]), y


class Tokeniser:
    """Whole words to ids, of the first `length` words."""

    def __init__(self, length):
        self.length = length

    def fit(self, X):
        self.codes = {
            word: code
            for code, word in enumerate(sorted({word for text in X["review"] for word in text.split()}), start=1)
        }
        return self

    def transform(self, X):
        rows = [[self.codes.get(word, 0) for word in text.split()][: self.length] for text in X["review"]]
        return np.array([row + [0] * (self.length - len(row)) for row in rows])


class Vectoriser:
    """A vectoriser of scikit-learn on the column of a frame, after cutting the texts."""

    def __init__(self, vectoriser, characters=None):
        self.vectoriser, self.characters = vectoriser, characters

    def fit(self, X):
        self.vectoriser.fit(self.cut(X))
        return self

    def cut(self, X):
        return X["review"].str.slice(0, self.characters)

    def transform(self, X):
        return self.vectoriser.transform(self.cut(X))


def first(length):
    return lambda X: np.array([(list(row) + [0] * length)[:length] for row in X])


def prepared_together(length):
    """A preparation of all splits that cuts the texts."""

    def prepare(splits):
        tokeniser = Tokeniser(length).fit(splits.train.X)
        return Splits(*((tokeniser.transform(split.X), split.y) for _, split in splits.items()))

    return prepare


def embedding(length):
    return lambda: nn.Sequential(nn.Embedding(60, 8), nn.Flatten(), nn.Linear(8 * length, 2))


KINDS = {
    "tokens of a text": (texts, lambda length: {"preprocess": Tokeniser(length)}, "Tokeniser"),
    "characters of a text": (
        texts,
        lambda length: {"preprocess": Vectoriser(CountVectorizer(), 6 * length)},
        "Vectoriser",
    ),
    "lists of tokens": (lists, lambda length: {"preprocess": [("pad", first(length))]}, "pad"),
    "padded arrays": (
        padded,
        lambda length: {
            "preprocess": [("same", lambda X: X), ("cut", lambda X: X[:, :length])],
            "model": embedding(length),
        },
        "cut",
    ),
    "prepare": (texts, lambda length: {"prepare": prepared_together(length)}, "prepare"),
}


def subject_of(make, kind, place, length):
    source, parts, _ = KINDS[kind]
    data = source(place)
    return make(data, label="label" if isinstance(data, pd.DataFrame) else None, **parts(length))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_end_that_tells_the_label_fails(make, only, kind):
    """Cutting at 12 words loses the label that stands at the end; the step is named."""
    finding = only("truncation", subject_of(make, kind, "end", 12))
    assert finding.status is Status.FAIL
    assert finding.faults == {"truncation": 0.92}
    assert str(finding.where) == KINDS[kind][2]
    assert finding.value > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_end_that_tells_nothing_warns(make, only, kind):
    """The same cut, with the label at the start, is a warning."""
    finding = only("truncation", subject_of(make, kind, "start", 12))
    assert finding.status is Status.WARN
    assert finding.value > 0.8


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["end", "anywhere"])
def test_sequences_that_are_not_cut_pass(make, only, kind, place):
    """A length that holds all of it is sound."""
    assert only("truncation", subject_of(make, kind, place, 64)).status is Status.PASS


@pytest.mark.parametrize(
    "vectoriser",
    [
        TfidfVectorizer(),
        CountVectorizer(binary=True),
        HashingVectorizer(n_features=256),
        TfidfVectorizer(vocabulary=["awful", "great", "bananan"]),
        TfidfVectorizer(max_features=8),
        TfidfVectorizer(analyzer="char", ngram_range=(2, 3)),
    ],
    ids=["tf-idf", "binary", "hashing", "three words", "eight words", "letters"],
)
@pytest.mark.parametrize("place", ["end", "start"])
def test_bags_of_words_are_no_truncation(make, only, vectoriser, place):
    """A vectoriser reads the whole text; only one that knows the words at the start and no other is suspected."""
    finding = only("truncation", make(texts(place), label="label", preprocess=Vectoriser(vectoriser)))
    starts_only = place == "start" and getattr(vectoriser, "vocabulary", None)
    assert finding.status is (Status.WARN if starts_only else Status.PASS)


@pytest.mark.parametrize("source", ["breast_cancer", "digits", "table", "images", "multilabel", "diabetes"])
def test_other_data_are_skipped(make, only, source):
    """Tables and images are no sequences."""
    assert only("truncation", make(source)).status is Status.SKIPPED


def test_a_dropped_text_column_is_not_cut(make, only):
    """A column that is left out altogether is no truncation."""
    frame = texts().assign(size=np.arange(400.0))
    assert only("truncation", make(frame, label="label", preprocess=lambda X: X[["size"]])).status is not Status.FAIL


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"review": ["a b c d e"] * 60, "label": [0, 1] * 30}),
        pd.DataFrame({"review": ["", "a b c d"] * 60, "label": [0] * 120}),
        texts().head(5),
    ],
    ids=["all equal", "empty texts and one class", "five rows"],
)
def test_odd_texts_do_not_fail(make, only, frame):
    """Equal texts, empty texts and a few rows lead to a judgement or are skipped."""
    finding = only("truncation", make(frame, label="label", preprocess=Vectoriser(HashingVectorizer(n_features=16), 4)))
    assert finding.status in (Status.PASS, Status.SKIPPED, Status.WARN)


def names():
    """Surnames, of which the last letters tell where they are from."""
    rng = np.random.default_rng(0)
    ends = np.array(["ov", "ini"])
    y = rng.integers(0, 2, 240)
    stems = ["".join(rng.choice(list("abdefgklmnprstuv"), rng.integers(4, 8))) for _ in y]
    return pd.DataFrame({"name": [stem + ends[label] for stem, label in zip(stems, y, strict=True)], "label": y})


@pytest.mark.parametrize(("length", "status"), [(3, Status.FAIL), (12, Status.PASS)])
def test_names_are_read_by_their_letters(make, only, length, status):
    """Where they are all there is, what they are cut to may hold nothing of the label, which is in its ends."""
    codes = lambda X: np.array([[ord(c) for c in name[:length].ljust(length)] for name in X["name"]])  # noqa: E731
    model = lambda: nn.Sequential(nn.Embedding(128, 4), nn.Flatten(), nn.Linear(4 * length, 2))  # noqa: E731
    subject = make(names, label="label", preprocess=codes, model=model)
    assert only("truncation", subject).status is status
    assert only("random_labels", subject).status is Status.PASS
