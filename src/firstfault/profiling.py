"""A ydata-profiling report of a sample, made by a process of its own within a time budget.

ydata-profiling was renamed to fg-data-profiling (package `data_profiling`); this module is the only one that knows it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from firstfault.expecting.table import plain
from firstfault.privacy import pseudonymised

ROWS, COLUMNS, SECONDS = 1_000, 30, 45.0
SAMPLE, PAGE, ALERTS = "profile_sample.parquet", "profile.html", "profile_alerts.json"


@dataclass
class Profiling:
    """A profile in the making. `collect` waits for what is left of its budget."""

    process: subprocess.Popen[bytes]
    folder: Path
    started: float
    seconds: float
    rows: int
    columns: int

    def collect(self) -> list[Mapping[str, Any]] | None:
        """The alerts as `{"alert", "column", "message"}`; None when the budget did not suffice.

        Raises:
            RuntimeError: when ydata-profiling failed, with the last line it printed.
        """
        try:
            left = max(0.1, self.seconds - (time.monotonic() - self.started))
            _, printed = self.process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return None
        finally:
            (self.folder / SAMPLE).unlink(missing_ok=True)
        if self.process.returncode != 0:
            lines = printed.decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"ydata-profiling ended with {self.process.returncode}: {lines[-1] if lines else 'no word'}")
        alerts: list[Mapping[str, Any]] = json.loads((self.folder / ALERTS).read_text())
        return alerts


def start(frame: pd.DataFrame, folder: Path, title: str, seed: int, seconds: float = SECONDS) -> Profiling:
    """Start profiling a sample of at most 1,000 rows and 30 columns of `frame`; files go to `folder`, without personal data."""
    sample = frame.sample(min(ROWS, len(frame)), random_state=seed).iloc[:, :COLUMNS].rename(columns=str)
    sample = sample.apply(_profiled)
    sample = pseudonymised(sample)
    sample.to_parquet(folder / SAMPLE)
    command = [sys.executable, "-m", "firstfault.profiling", str(folder), title]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return Profiling(process, folder, time.monotonic(), seconds, len(sample), sample.shape[1])


def _profiled(values: pd.Series) -> pd.Series:
    """A column of types that Parquet and ydata-profiling know: others become text."""
    values = plain(values)
    if values.dtype == object:
        return values.where(values.isna(), values.astype(str))
    return values.astype("float32") if values.dtype == "float16" else values


def _profile(folder: Path, title: str) -> None:
    warnings.simplefilter("ignore")
    os.environ["YDATA_PROFILING_NO_ANALYTICS"] = "True"
    from ydata_profiling import ProfileReport

    report = ProfileReport(pd.read_parquet(folder / SAMPLE), title=title, minimal=True, progress_bar=False)
    alerts = [
        {"alert": alert.alert_type.name.lower(), "column": alert.column_name, "message": str(alert)}
        for alert in report.get_description().alerts
    ]
    report.to_file(folder / PAGE, silent=True)
    (folder / ALERTS).write_text(json.dumps(alerts, indent=1))


if __name__ == "__main__":
    _profile(Path(sys.argv[1]), sys.argv[2])
