"""Windows over a series, split by time and at random."""

import numpy as np
import pytest

from firstfault.data.windows import follow_each_other
from firstfault.finding import Status


def windows(n=500, length=12, columns=2, step=1, seed=0):
    """Windows `(N, T, D)` over a drifting series, and the step after each."""
    rng = np.random.default_rng(seed)
    series = np.cumsum(rng.normal(size=(n * step + length + 1, columns)), 0)
    starts = np.arange(n) * step
    return np.stack([series[start : start + length] for start in starts]), series[starts + length, 0]


def parts(X, y):
    """The first 60 % of the rows, and the rest in halves."""
    a, b = int(0.6 * len(y)), int(0.8 * len(y))
    return (X[:a], y[:a]), {"validation": (X[a:b], y[a:b]), "test": (X[b:], y[b:])}


@pytest.mark.parametrize("step", [1, 4])
def test_overlapping_windows_dealt_out_at_random_are_an_overlap(make, only, step):
    """Shuffled windows fail in splits of the user's, and warn in those of firstfault's; in order both pass."""
    X, y = windows(step=step)
    order = np.random.default_rng(0).permutation(len(y))
    train, held = parts(X[order], y[order])
    finding = only("overlapping_windows", make(train, task="regression", data=held))
    assert finding.status is Status.FAIL and finding.faults == {"split_overlap": 0.92}
    assert only("overlapping_windows", make((X[order], y[order]), task="regression")).status is Status.WARN
    assert only("overlapping_windows", make((X, y), task="regression")).status is Status.PASS
    train, held = parts(X, y)
    assert only("overlapping_windows", make(train, task="regression", data=held)).status is Status.PASS


@pytest.mark.parametrize("source", ["wine", "digits", "images", "tokens", "table"])
def test_other_samples_are_no_windows(make, only, source):
    """Tables, images, tokens: rows that have values in common are no windows of a series."""
    assert only("overlapping_windows", make(source)).status in (Status.PASS, Status.SKIPPED)


def test_equal_ends_of_rows_are_no_windows(make, only):
    """Indicators at the end of a row repeat each other."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(400, 4)), np.eye(6)[rng.integers(0, 6, 400)]])
    assert only("overlapping_windows", make((X, rng.integers(0, 2, 400)))).status is Status.SKIPPED


def test_a_series_split_by_time_may_drift(make, run):
    """Windows that follow each other in train and validation are split by time.

    A moved level is a warning there, and in a table of noise a fault.
    """
    X, y = windows(600, step=2, seed=3)
    train, held = parts(X, y)
    subject = make(train, task="regression", data=held)
    assert follow_each_other(subject.raw.train.X) and follow_each_other(subject.raw.test.X)
    found = [
        finding for name in ("covariate_drift", "label_drift", "domain_classifier") for finding in run(name, subject)
    ]
    assert not [finding for finding in found if finding.status is Status.FAIL]
    assert [finding for finding in found if finding.status is Status.WARN]
    noise = np.random.default_rng(0).normal(size=(600, 8))
    moved = make((noise, noise[:, 0]), task="regression", data={"test": (noise[:200] + 3, noise[:200, 0])})
    assert run("covariate_drift", moved)[0].status is Status.FAIL
    assert not follow_each_other(noise)


def test_windows_that_firstfault_parts_are_parted_by_time(make):
    """Those that follow each other are held out at the end, as with a declared time; shuffled ones at random."""
    X, y = windows(step=2)
    raw = make((X, y), task="regression").raw
    assert np.array_equal(raw.train.X, X[: len(raw.train.y)]) and np.array_equal(raw.test.X, X[-len(raw.test.y) :])
    order = np.random.default_rng(0).permutation(len(y))
    drawn = make((X[order], y[order]), task="regression").raw
    assert not np.array_equal(drawn.test.X, X[order][-len(drawn.test.y) :])


def test_a_series_whose_test_firstfault_parts_may_drift(make, run):
    """Declared train and validation follow each other: a test drawn out of train must not hide that."""
    X, y = windows(600, step=2, seed=3)
    subject = make((X[:400], y[:400] + 50), task="regression", data={"validation": (X[400:], y[400:])})
    found = [finding for name in ("covariate_drift", "label_drift") for finding in run(name, subject)]
    assert not [finding for finding in found if finding.status is Status.FAIL]
