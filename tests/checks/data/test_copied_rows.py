"""Copies told from rows that repeat by chance, with exact counts, and listed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from firstfault.checks.data._hashing import column_words, scan
from firstfault.finding import Status


def mixed(n=3000, seed=0):
    """A wide table of numbers, dates, texts, categories and gaps."""
    rng = np.random.default_rng(seed)
    numbers = {f"n{place}": rng.normal(place, 1 + place, n) for place in range(6)}
    numbers["n3"][rng.random(n) < 0.1] = np.nan
    return pd.DataFrame(
        numbers
        | {
            "count": rng.integers(0, 5, n),
            "city": rng.choice(np.array(["Bern", "Oslo", None], dtype=object), n),
            "flag": rng.random(n) < 0.3,
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s"),
            "plan": pd.Categorical(rng.choice(["a", "b"], n)),
            "mail": [f"user{number}@mail.org" for number in rng.integers(0, 900, n)],
            "y": rng.integers(0, 2, n),
        }
    )


def categories(n=3000, seed=0):
    """Six columns of four values: rows repeat by chance."""
    X = np.random.default_rng(seed).integers(0, 4, (n, 6))
    return pd.DataFrame(X).add_prefix("c").assign(y=(X.sum(1) > 9).astype(int))


def people(n=12_000):
    """Adult: columns that depend on each other, of which common combinations repeat."""
    frame = pd.read_parquet(Path(__file__).parents[3] / "examples" / "adult" / "adult.parquet")
    return frame.rename(columns={"salary": "y"}).sample(n, random_state=0)


def defaults(n=3000, seed=0):
    """A sensor that is off in one row of twenty: all zeros."""
    rng = np.random.default_rng(seed)
    X = rng.gamma(1, 1, (n, 8))
    X[rng.random(n) < 0.05] = 0
    return pd.DataFrame(X).add_prefix("s").assign(y=rng.integers(0, 2, n))


HEALTHY = {
    "mixed": mixed,
    "categories": categories,
    "people": people,
    "defaults": defaults,
    "one-hot": lambda: pd.get_dummies(categories(1500), columns=[f"c{place}" for place in range(6)]),
    **{
        name: (lambda load=load: load(as_frame=True).frame.rename(columns={"target": "y"}))
        for name, load in {
            "iris": load_iris,
            "wine": load_wine,
            "cancer": load_breast_cancer,
            "digits": load_digits,
        }.items()
    },
}


@pytest.mark.parametrize("source", HEALTHY)
def test_rows_that_repeat_by_chance_are_no_copies(make, only, source):
    """Whole, and parted by the user at random."""
    frame = HEALTHY[source]().sample(frac=1, random_state=1)
    half = len(frame) // 2
    subject = make(frame.iloc[:half], label="y", data={"test": frame.iloc[half:]})
    assert only("duplicate_rows", make(frame, label="y")).status is Status.PASS
    assert only("split_overlap", subject).status is Status.PASS
    assert only("conflicting_labels", subject).status is Status.PASS


@pytest.mark.parametrize("source", ["mixed", "cancer", "digits"])
def test_three_percent_of_copies_are_a_fault_with_their_number(make, only, source):
    """All splits that firstfault draws are counted."""
    frame = HEALTHY[source]()
    copies = len(frame) * 3 // 100
    subject = make(pd.concat([frame, frame.sample(copies, random_state=0)], ignore_index=True), label="y")
    finding = only("duplicate_rows", subject)
    assert finding.status is Status.FAIL and finding.message.startswith(f"{copies} of the {len(frame) + copies} rows")


@pytest.mark.parametrize("source", ["mixed", "cancer", "digits"])
def test_one_percent_of_a_test_split_from_train_is_a_fault_with_its_number(make, only, source):
    """Five rows at least, which chance does not explain."""
    frame = HEALTHY[source]()
    half = len(frame) // 2
    copies = max(8, half // 100)
    test = pd.concat([frame.iloc[half:], frame.iloc[:half].sample(copies, random_state=0)])
    subject = make(frame.iloc[:half], label="y", data={"test": test})
    finding = only("split_overlap", subject)
    assert finding.status is Status.FAIL and finding.message.startswith(f"{copies} of the {len(test)} rows of test")


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_copies_are_counted_among_rows_that_repeat(make, only, share):
    """Where rows repeat by chance too, the share of copies is estimated."""
    frame = people()
    copies = frame.sample(frac=share, random_state=0)
    finding = only("duplicate_rows", make(pd.concat([frame, copies]), label="y"))
    assert finding.status is Status.FAIL and abs(finding.value - share / (1 + share)) < 0.03
    half = len(frame) // 2
    test = pd.concat([frame.iloc[half:], frame.iloc[:half].sample(frac=share, random_state=0)])
    assert only("split_overlap", make(frame.iloc[:half], label="y", data={"test": test})).status is Status.FAIL


def test_the_first_copies_are_listed_without_personal_values(make, only):
    """Each line names two rows that are equal."""
    frame = mixed(400)
    subject = make(pd.concat([frame, frame.iloc[:60]], ignore_index=True), label="y")
    finding = only("duplicate_rows", subject)
    assert finding.artifacts == ("duplicate_rows.csv",)
    text = (subject.folder / "duplicate_rows.csv").read_text()
    assert "@mail.org" not in text
    listed = pd.read_csv(subject.folder / "duplicate_rows.csv")
    splits = dict(subject.raw.items())
    for line in listed.itertuples():
        first, second = (
            splits[split].X.iloc[row] for split, row in ((line.split, line.row), (line.equal_split, line.equal_row))
        )
        pd.testing.assert_series_equal(first, second, check_names=False)
    assert len(listed) == 60


def test_the_first_rows_in_two_splits_are_listed(make, only):
    """A row of test, and its equal in train."""
    frame = mixed(600)
    test = pd.concat([frame.iloc[400:], frame.iloc[:50]], ignore_index=True)
    subject = make(frame.iloc[:400], label="y", data={"test": test})
    assert only("split_overlap", subject).artifacts == ("split_overlap.csv",)
    listed = pd.read_csv(subject.folder / "split_overlap.csv")
    assert listed["split"].eq("test").all() and sorted(listed["row"]) == list(range(200, 250))
    assert set(listed["equal_split"]) <= {"train", "validation"}


def test_hashes_do_not_depend_on_how_values_are_kept():
    """Another order of columns, width of numbers, or a category for a text."""
    frame = mixed(200).drop(columns="y")
    other = frame[frame.columns[::-1]].astype({"count": float, "city": "category", "plan": str, "mail": "string"})
    assert np.array_equal(scan(frame).hashes, scan(other).hashes)


def test_hashes_tell_rows_apart_as_python_does():
    """An independent, slow reference: tuples of the values."""
    frame = (
        pd.concat([categories(400), categories(400)])
        .drop(columns="y")
        .astype(object)
        .where(lambda values: values != 3, None)
    )
    rows = [tuple(row) for row in frame.itertuples(index=False)]
    hashes = scan(frame).hashes
    assert len(set(rows)) == len(set(hashes.tolist()))
    assert pd.Series(hashes).duplicated().tolist() == pd.Series(rows).duplicated().tolist()


def test_arrays_of_any_shape_are_hashed():
    """Images, texts, objects, and rows without a value."""
    images = np.random.default_rng(0).random((6, 3, 4, 4))
    images[5] = images[0]
    assert pd.Series(scan(images).hashes).duplicated().tolist() == [False] * 5 + [True]
    assert scan(np.array(["a", "b", "a"])).hashes[0] == scan(np.array(["a", "b", "a"])).hashes[2]
    assert scan(np.full((3, 2), np.nan)).empty.all() and scan(np.full((3, 2), np.nan)).missing == {"0": 3, "1": 3}
    assert len(set(scan(np.array([[1, "x"], [None, 2.5], [1, "x"]], dtype=object)).hashes.tolist())) == 2


def test_missing_cells_are_counted_by_column(make, only):
    """In texts, dates and numbers alike."""
    frame = mixed(500)
    frame.loc[:9, "when"] = pd.NaT
    finding = only("missing_values", make(frame, label="y"))
    assert finding.status is Status.WARN or finding.status is Status.FAIL
    train = make(frame, label="y").raw.train.X
    assert finding.value == pytest.approx(train.isna().to_numpy().mean())


def test_texts_hash_alike_only_when_they_are_alike():
    """Short, long, empty and non-ASCII texts have a word each, the same in a slice, a category and another column."""
    texts = [
        "",
        "a",
        "abcdefgh",
        "abcdefghi",
        "abcdefgh\0",
        "é",
        "x" * 256,
        "x" * 257,
        "y" + "x" * 999,
        "x" * 999 + "y",
    ]
    words, absent = column_words(pd.Series(texts))
    assert len(set(words)) == len(texts) and absent is None
    assert (column_words(pd.Series(["other", *texts, None]).iloc[3:6])[0] == words[2:5]).all()
    assert (column_words(pd.Series(texts[:4], dtype="category"))[0] == words[:4]).all()
