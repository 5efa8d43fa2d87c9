"""A classifier that tells train from the rest finds what no column shows alone, and is silent on random splits."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from firstfault.finding import Status

WORDS = [*"abcdefghijk", "the", "house", "dog", "walks", "river", "under", "sky", "sees", "stones"]


def halves(frame, seed=0):
    """Two random halves of a frame."""
    order = np.random.default_rng(seed).permutation(len(frame))
    return frame.iloc[order[: len(frame) // 2]], frame.iloc[order[len(frame) // 2 :]]


def related(rows, correlation, seed):
    """Two standard normal columns of that correlation among four others and a category."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 6))
    X[:, 1] = correlation * X[:, 0] + np.sqrt(1 - correlation**2) * X[:, 1]
    return pd.DataFrame(X, columns=list("abcdef")).assign(kind=rng.choice(["u", "v"], rows), y=rng.integers(0, 2, rows))


def test_a_reversed_relation_is_found_where_every_column_stays(make, only):
    """Columns a and b rise together in train, and against each other in the reference."""
    subject = make(related(1500, 0.8, 0), label="y", data={"reference": related(1500, -0.8, 1)})
    assert only("covariate_drift", subject).status is Status.PASS
    found = only("domain_classifier", subject)
    assert found.status is Status.FAIL and found.faults == {"covariate_drift": 0.9}
    assert set(str(found.where).split(", ")) == {"a", "b"} and "no column moved on its own" in found.message
    assert (
        found.artifacts == ("domain_columns.csv", "joint_drift.svg") and (subject.folder / "joint_drift.svg").is_file()
    )


def test_a_relation_of_categories_is_found(make, only):
    """A category that followed another one no longer does."""
    rng = np.random.default_rng(0)

    def rows(tied):
        first, noise = rng.choice(list("uvw"), 1200), rng.choice(list("uvw"), 1200)
        return pd.DataFrame(
            {
                "first": first,
                "second": first if tied else noise,
                "x": rng.normal(size=1200),
                "y": rng.integers(0, 2, 1200),
            }
        )

    found = only("domain_classifier", make(rows(True), label="y", data={"test": rows(False)}))
    assert found.status is Status.FAIL and {"first", "second"} <= set(str(found.where).split(", "))


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine, load_digits])
def test_random_splits_are_silent(make, only, load):
    """Ten random halves of two data sets, four of a larger one."""
    frame = load(as_frame=True).frame
    for seed in range(10 if len(frame) < 1000 else 4):
        train, other = halves(frame, seed)
        found = only(
            "domain_classifier", make(train, label="target", data={"reference" if seed % 2 else "test": other})
        )
        assert found.status in (Status.PASS, Status.SKIPPED), found


def test_copies_of_rows_tell_nothing(make, only):
    """Rows repeated in train alone are learned by heart, but not judged."""
    train, other = halves(load_breast_cancer(as_frame=True).frame)
    subject = make(pd.concat([train, train, train]), label="target", data={"reference": other})
    assert only("domain_classifier", subject).status is Status.PASS


def pictures(count, seed, gain=1.0, noise=0.0):
    """Coloured pictures `(N, 12, 12, 3)` of a ramp, 0–255."""
    rng = np.random.default_rng(seed)
    ramp = rng.random((count, 1, 1, 3)) * 80 + np.linspace(0, 100, 12)[None, :, None, None] * rng.random(
        (count, 1, 1, 1)
    )
    return (gain * ramp + rng.normal(0, 5 + noise, (count, 12, 12, 3))).clip(0, 255), rng.integers(0, 2, count)


@pytest.mark.parametrize(
    ("changed", "column"), [({"gain": 1.5}, "brightness of a sample"), ({"noise": 10}, "sharpness of a sample")]
)
def test_images_that_are_brighter_or_noisier_are_found(make, only, changed, column):
    """The feature that moved names what happened."""
    subject = make(pictures(300, 0, **changed), data={"reference": pictures(300, 1)})
    drift, domain = only("covariate_drift", subject), only("domain_classifier", subject)
    assert drift.status is Status.FAIL and column in str(drift.where) and domain.status is Status.FAIL


def test_images_of_one_source_are_silent(make, only):
    """Other pictures, looking alike."""
    subject = make(pictures(300, 2), data={"reference": pictures(300, 3)})
    assert {only(name, subject).status for name in ("covariate_drift", "domain_classifier")} == {Status.PASS}


def texts(count, seed, words=WORDS, most=14):
    """A column of sentences with a label."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "review": [" ".join(rng.choice(words, rng.integers(4, most))) for _ in range(count)],
            "y": rng.integers(0, 2, count),
        }
    )


def test_texts_of_another_kind_are_found(make, only):
    """Longer ones by their length, another language by its unknown words; the same kind is silent."""
    german = [
        "der",
        "klein",
        "groß",
        "Haus",
        "Hund",
        "geht",
        "rennt",
        "Fluss",
        "kalt",
        "Himmel",
        "sieht",
        "nichts",
        "Steine",
    ]
    longer = only("covariate_drift", make(texts(500, 0, most=30), label="y", data={"reference": texts(500, 1)}))
    assert longer.status is Status.FAIL and "length of review" in str(longer.where)
    other = make(texts(500, 0, german), label="y", data={"reference": texts(500, 1)})
    assert (
        "unknown words of review" in str(only("covariate_drift", other).where)
        and only("domain_classifier", other).status is Status.FAIL
    )
    alike = make(texts(500, 2), label="y", data={"reference": texts(500, 3)})
    assert {only(name, alike).status for name in ("covariate_drift", "domain_classifier")} == {Status.PASS}


def test_wide_rows_are_projected(make, only):
    """Rows of 784 numbers, shifted and not."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 784)), rng.integers(0, 2, 400)
    assert (
        only("domain_classifier", make((X[:200], y[:200]), data={"test": (X[200:] + 0.5, y[200:])})).status
        is Status.FAIL
    )
    assert only("domain_classifier", make((X[:200], y[:200]), data={"test": (X[200:], y[200:])})).status is Status.PASS


def test_without_anything_to_compare_it_is_skipped(make, only):
    """No reference, and splits drawn by firstfault."""
    assert only("domain_classifier", make("wine")).status is Status.SKIPPED


@pytest.mark.parametrize("check", ["domain_classifier", "covariate_drift"])
@pytest.mark.parametrize("shape", [(12, 4), (5,)])
def test_splits_without_a_class_in_common_crash_no_check(make, only, check, shape):
    """Rows of equal classes are compared: here there are none. That the split lacks classes is told elsewhere."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, *shape)), np.repeat([0, 1, 2], 100)
    subject = make((X[:200], y[:200]), data={"validation": (X[200:], y[200:])})
    assert only(check, subject).status in (Status.PASS, Status.SKIPPED)
