"""Slices that are much harder than the rest are found, and only those."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from firstfault.checks.data.slices import measured
from firstfault.finding import Status


def visits(n=1500, hard=0.0, seed=0):
    """Two numbers that decide the label, except at one site where `hard` of the labels are a coin's."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 4)), columns=["a", "b", "c", "d"])
    frame["site"] = rng.choice(["Bern", "Oslo", "Rome", "Wien"], n, p=[0.3, 0.3, 0.3, 0.1])
    coin = (frame["site"] == "Wien") & (rng.random(n) < hard)
    frame["target"] = np.where(coin, rng.integers(0, 2, n), (frame["a"] + frame["b"] > 0).astype(int))
    return frame


def test_a_hard_site_is_found(make, only):
    """Its column is named, its value and error rate are in the table."""
    subject = make(visits(hard=0.9), label="target", data={"sensitive": ["site"]})
    finding = only("weak_slices", subject)
    assert finding.status is Status.WARN
    assert finding.faults == {}
    assert "site" in str(finding.where)
    worst = pd.read_csv(subject.folder / "slices.csv").iloc[0]
    assert (worst["column"], worst["slice"]) == ("site", "Wien")
    assert worst["error"] == pytest.approx(0.45, abs=0.15)


@pytest.mark.parametrize("seed", range(3))
def test_equal_sites_are_not(make, only, seed):
    """No site is harder than another; ranges of a and b near the border may be."""
    subject = make(visits(seed=seed), label="target")
    found = only("weak_slices", subject)
    assert found.status in (Status.PASS, Status.WARN)
    assert "site" not in str(found.where)


def test_p_values_are_those_of_fishers_test(make):
    """One-sided, and multiplied by the number of slices at least as likely (Holm)."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"kind": rng.choice(["x", "y", "z"], 400)})
    wrong = rng.random(400) < np.where(frame["kind"] == "x", 0.4, 0.2)
    slices = {entry.value: entry for entry in measured(frame, wrong, [], 30)}
    raw = {}
    for value in "xyz":
        inside = (frame["kind"] == value).to_numpy()
        counts = [[wrong[inside].sum(), (~wrong[inside]).sum()], [wrong[~inside].sum(), (~wrong[~inside]).sum()]]
        raw[value] = fisher_exact(counts, alternative="greater").pvalue
    least = min(raw, key=raw.get)
    assert slices[least].p == pytest.approx(min(1.0, 3 * raw[least]))


def test_personal_values_name_no_slice(make, only):
    """The address of a hard customer stays out of the table and the message."""
    frame = visits(hard=0.9).rename(columns={"site": "email"})
    frame["email"] = frame["email"] + "@mail.org"
    subject = make(frame, label="target")
    assert "@" not in only("weak_slices", subject).message
    assert "@" not in (subject.folder / "slices.csv").read_text()


def test_images_and_numbers_are_skipped(make, only):
    """Slices take a table with classes."""
    assert only("weak_slices", make("images")).status is Status.SKIPPED
    assert only("weak_slices", make("diabetes")).status is Status.SKIPPED
