"""The ydata-profiling report of a sample, made within a budget."""

import numpy as np
import pandas as pd

from firstfault.finding import Status
from firstfault.profiling import start


def frame(n=300):
    """A table with a constant and a half-empty column."""
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "value": rng.normal(size=n), "same": 3, "half": np.where(rng.random(n) > 0.5, rng.normal(size=n), np.nan), "y": rng.integers(0, 2, n),
    })


def test_alerts_become_findings(make, run):
    """A constant and a missing column are warned about, and the page is written."""
    subject = make(frame(), label="y")
    found = {finding.message.split(":")[0]: finding for finding in run("profile_alerts", subject)}
    assert found["constant"].where == "same" and found["missing"].where == "half"
    assert {finding.status for finding in found.values()} <= {Status.PASS, Status.WARN}
    assert "<html" in (subject.folder / "profile.html").read_text()[:2000].lower()


def test_a_spent_budget_ends_the_profile(tmp_path):
    """A profile that takes too long is killed, and says so by giving nothing."""
    profiling = start(frame(), tmp_path, "slow", seed=0, seconds=0.0)
    assert profiling.collect() is None and profiling.process.poll() is not None


def test_images_are_not_profiled(make, only):
    """Only tables are profiled."""
    assert only("profile_alerts", make("images")).status is Status.SKIPPED
