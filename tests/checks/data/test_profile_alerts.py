"""The ydata-profiling report of a sample, made within a budget."""

import time

import numpy as np
import pandas as pd
import psutil
import pytest

from firstfault.check import Depth
from firstfault.data.profile import start
from firstfault.diagnosis import diagnose
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject


def frame(n=300):
    """A table with a constant and a half-empty column."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "value": rng.normal(size=n),
            "same": 3,
            "half": np.where(rng.random(n) > 0.5, rng.normal(size=n), np.nan),
            "y": rng.integers(0, 2, n),
        }
    )


def test_alerts_become_findings(make, run):
    """A constant and a missing column are warned about, and the page is written."""
    subject = make(frame(), label="y")
    found = {finding.message.split(":")[0]: finding for finding in run("profile_alerts", subject)}
    assert str(found["constant"].where) == "same" and str(found["missing"].where) == "half"
    assert {finding.status for finding in found.values()} <= {Status.PASS, Status.WARN}
    subject.settle()
    assert "<html" in (subject.folder / "profile.html").read_text()[:2000].lower()


def test_a_muted_profile_is_not_begun(make):
    """No process is started for what nobody wants to see."""
    subject = make(frame(60), label="y", mute={"profile_alerts": "seen elsewhere"})
    diagnose(subject, Depth.STANDARD, only=Layer.DATA)
    assert subject.made(Subject.profiling) is None


def test_a_spent_budget_ends_the_profile(tmp_path):
    """A profile that takes too long is killed, and says so by giving nothing."""
    profiling = start(frame(), tmp_path, "slow", seed=0, seconds=0.0)
    assert profiling.collect() is None and profiling.process.poll() is not None


def test_the_profile_rests_where_something_is_timed(tmp_path):
    """Its process is stopped for the block, and goes on after it."""
    profiling = start(frame(), tmp_path, "resting", seed=0, seconds=0.0)
    process, deadline = psutil.Process(profiling.process.pid), time.monotonic() + 60
    with profiling.paused():
        while process.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
            pass
        assert process.status() == psutil.STATUS_STOPPED
    while process.status() == psutil.STATUS_STOPPED and time.monotonic() < deadline:
        pass
    assert process.status() != psutil.STATUS_STOPPED
    profiling.finish()


def test_alerts_are_known_before_the_pages_are_drawn(tmp_path):
    """The walk goes on while the pages are made; at its end they are there."""
    profiling = start(frame(), tmp_path, "quick", seed=0)
    assert profiling.collect() and profiling.process.poll() is None and not (tmp_path / "profile.html").exists()
    profiling.finish()
    assert (tmp_path / "profile.html").exists() and not list(tmp_path.glob("*.parquet"))


def test_a_profile_that_fails_says_why(tmp_path):
    """The last line that the process printed is in the error."""
    profiling = start(frame(), tmp_path, "broken", seed=0)
    (tmp_path / "profile_sample.parquet").write_text("no parquet")
    with pytest.raises(RuntimeError, match="ydata-profiling ended with 1: .*[Pp]arquet"):
        profiling.collect()


def test_images_are_not_profiled(make, only):
    """Only tables are profiled."""
    assert only("profile_alerts", make("images")).status is Status.SKIPPED


def test_a_sample_is_profiled_beside_the_reference(make, run):
    """Columns of another type can't be compared: they are left out and named."""
    reference = frame().drop(columns="half")
    subject = make(
        frame().assign(value=lambda f: "about " + f["value"].round(3).astype(str)),
        label="y",
        data={"reference": reference},
    )
    found = next(entry for entry in run("profile_alerts", subject) if "profile_compare.html" in entry.artifacts)
    subject.settle()
    assert found.status is Status.WARN and set(str(found.where).split(", ")) == {"value", "half"} and found.faults == {}
    assert "reference" in (subject.folder / "profile_compare.html").read_text()
    assert not list(subject.folder.glob("*.parquet"))
