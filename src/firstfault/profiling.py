"""A ydata-profiling report of a sample, made by a process of its own within a time budget, and its comparison with the reference.

ydata-profiling was renamed to fg-data-profiling (package `data_profiling`); this module is the only one that knows it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from firstfault.extras import expect_installed
from firstfault.privacy import pseudonymised

ROWS, COLUMNS, SECONDS = 1_000, 30, 45.0
SECONDS_MORE = 60.0
"""The pages keep nobody waiting but the end of the run: so much longer they may take."""
SAMPLE, PAGE, ALERTS = "profile_sample.parquet", "profile.html", "profile_alerts.json"
REFERENCE, COMPARED, LEFT_OUT = "profile_reference.parquet", "profile_compare.html", "profile_left_out.json"


@dataclass
class Profiling:
    """A profile in the making: `collect` waits for its alerts, `finish` for its pages, both for what is left of its budget."""

    process: subprocess.Popen[bytes]
    printed: IO[bytes]
    folder: Path
    started: float
    seconds: float
    rows: int
    columns: int

    def collect(self) -> list[Mapping[str, Any]] | None:
        """The alerts as `{"alert", "column", "message"}`; None when the budget did not suffice for them.

        Raises:
            RuntimeError: when ydata-profiling failed, with the last line it printed.
        """
        while not self._known() and self.process.poll() is None and self._left() > 0:
            time.sleep(0.02)
        if not self._known() or self.process.poll() is not None:
            self.finish()
        if not self._known() and (self.process.returncode or 0) > 0:
            self.printed.seek(0)
            lines = self.printed.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"ydata-profiling ended with {self.process.returncode}: {lines[-1] if lines else 'no word'}")
        return json.loads((self.folder / ALERTS).read_text()) if self._known() else None

    def finish(self) -> None:
        """Wait for the pages; a process that is out of time is killed, and what it has not written is missing."""
        try:
            self.process.wait(timeout=max(0.1, self._left() + SECONDS_MORE * self._known()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for name in (SAMPLE, REFERENCE):
            (self.folder / name).unlink(missing_ok=True)

    def _left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)

    def _known(self) -> bool:
        return (self.folder / ALERTS).is_file()

    def left_out(self) -> Mapping[str, tuple[str | None, str | None]] | None:
        """The columns that can't be compared, with their type in the reference and here; None when there is no comparison."""
        path = self.folder / LEFT_OUT
        return json.loads(path.read_text()) if path.is_file() else None


def start(
    frame: pd.DataFrame, folder: Path, title: str, seed: int, seconds: float = SECONDS, reference: pd.DataFrame | None = None,
) -> Profiling:
    """Start profiling a sample of at most 1,000 rows and 30 columns of `frame`, and of `reference`; files go to `folder`, without personal data."""
    expect_installed("ydata_profiling", "a profile of the data")
    sample = _sample(frame, seed)
    sample.to_parquet(folder / SAMPLE)
    if reference is not None:
        _sample(reference, seed).to_parquet(folder / REFERENCE)
    command = [sys.executable, "-m", "firstfault.profiling", str(folder), title]
    printed = tempfile.TemporaryFile()                      # noqa: SIM115 - open as long as the process
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=printed)
    return Profiling(process, printed, folder, time.monotonic(), seconds, len(sample), sample.shape[1])


def _sample(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    sample = frame.sample(min(ROWS, len(frame)), random_state=seed).iloc[:, :COLUMNS].rename(columns=str)
    mixed = [column for column in sample.columns if sample[column].dtype == object]
    sample = sample.assign(**{column: sample[column].map(lambda value: value if pd.isna(value) else str(value)) for column in mixed})
    return pseudonymised(sample)


def _profile(folder: Path, title: str) -> None:
    """Write what findings need first, the pages after it."""
    warnings.simplefilter("ignore")
    os.environ["YDATA_PROFILING_NO_ANALYTICS"] = "True"
    report = _report(folder / SAMPLE, title)
    reference = _report(folder / REFERENCE, "reference") if (folder / REFERENCE).is_file() else None
    if reference is not None:
        _write_whole(folder / LEFT_OUT, _left_out(report, reference))
    _write_whole(folder / ALERTS, [
        {"alert": alert.alert_type.name.lower(), "column": alert.column_name, "message": str(alert)}
        for alert in report.get_description().alerts
    ])
    report.to_file(folder / PAGE, silent=True)
    if reference is not None:
        _compare(report, reference, folder)


def _report(path: Path, title: str) -> Any:
    from ydata_profiling import ProfileReport

    return ProfileReport(pd.read_parquet(path), title=title, minimal=True, progress_bar=False)


def _kinds(report: Any) -> dict[str, str]:
    return {name: entry["type"] for name, entry in report.get_description().variables.items()}


def _left_out(report: Any, reference: Any) -> dict[str, tuple[str | None, str | None]]:
    """ydata-profiling compares columns of one type only: the others, with their types in the reference and here."""
    here, there = _kinds(report), _kinds(reference)
    return {name: (there.get(name), here.get(name)) for name in {**here, **there} if here.get(name) != there.get(name)}


def _compare(report: Any, reference: Any, folder: Path) -> None:
    """Write the page of both, without the columns that can't be compared."""
    left_out = _left_out(report, reference)
    shared = [name for name in _kinds(report) if name not in left_out]
    if not shared:
        return
    for each in (report, reference):
        variables = each.get_description().variables
        for name in [name for name in variables if name in left_out]:
            variables.pop(name)
        each.df = each.df[shared]
    reference.compare(report).to_file(folder / COMPARED, silent=True)


def _write_whole(path: Path, value: Any) -> None:
    """Write a file that is never seen half written: the process may be killed at any time."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(value, indent=1))
    beside.replace(path)


if __name__ == "__main__":
    _profile(Path(sys.argv[1]), sys.argv[2])
