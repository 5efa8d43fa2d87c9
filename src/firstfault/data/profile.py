"""A ydata-profiling report of a sample, made by a process of its own, and its comparison with the reference.

ydata-profiling was renamed to fg-data-profiling (package `data_profiling`); this module is the only one that knows it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pandas as pd
import psutil

from firstfault.clock import GUARD
from firstfault.data.privacy.masking import pseudonymised
from firstfault.errors import Missing, told
from firstfault.extras import expect_installed
from firstfault.imports import uncollected
from firstfault.output.escaping import inert
from firstfault.output.whole_files import replacing, write_json, write_text
from firstfault.texts import as_written, shown
from firstfault.values import Json

if TYPE_CHECKING:
    from ydata_profiling import ProfileReport
    from ydata_profiling.model.alerts import Alert


ROWS, COLUMNS, SECONDS = 1_000, 30, 45.0
"""Bound the time of a profile, which stands beside a verdict and decides none."""
SECONDS_MORE = 60.0
"""The pages keep nobody waiting but the end of the run: so much longer they may take."""
SAMPLE, PAGE, ALERTS = "profile_sample.parquet", "profile.html", "profile_alerts.json"
REFERENCE, COMPARED, LEFT_OUT = "profile_reference.parquet", "profile_compare.html", "profile_left_out.json"


@dataclass
class Profiling:
    """A profile in the making, within a budget of time.

    `collect` waits for its alerts, `finish` for its pages, both for what is left of the budget: CPU seconds of the
    process, and `GUARD` times as many by the wall clock.
    """

    process: subprocess.Popen[bytes]
    printed: IO[bytes]
    folder: Path
    started: float
    seconds: float
    rows: int
    columns: int

    def collect(self) -> list[Json] | None:
        """The alerts as `{"alert", "column", "message"}`; None when the budget did not suffice for them.

        Raises:
            RuntimeError: when ydata-profiling failed, with the last line it printed.
        """
        self._await(self._known, self.seconds)
        if not self._known() or self.process.poll() is not None:
            self.finish()
        if not self._known() and (self.process.returncode or 0) > 0:
            self.printed.seek(0)
            lines = self.printed.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(
                f"ydata-profiling ended with {self.process.returncode}: {lines[-1] if lines else 'no word'}"
            )
        return json.loads((self.folder / ALERTS).read_text()) if self._known() else None

    def finish(self) -> None:
        """Wait for the pages; a process that is out of time is killed, and what it has not written is missing."""
        self._await(lambda: False, self.seconds + SECONDS_MORE * self._known())
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for name in (SAMPLE, REFERENCE):
            (self.folder / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process for the block."""
        try:
            process = psutil.Process(self.process.pid)
            process.suspend()
        except psutil.Error:  # it has ended
            yield
            return
        try:
            yield
        finally:
            with contextlib.suppress(psutil.Error):
                process.resume()

    def _await(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait for something, or the end of the process, or of the time."""
        while not done() and self.process.poll() is None and self._used() < seconds:
            time.sleep(0.02)

    def _used(self) -> float:
        """The CPU seconds of the process, and no less than the wall clock's over `GUARD`."""
        waited = (time.monotonic() - self.started) / GUARD
        try:
            times = psutil.Process(self.process.pid).cpu_times()
        except psutil.Error:
            return waited
        return max(waited, times.user + times.system)

    def _known(self) -> bool:
        return (self.folder / ALERTS).is_file()

    def left_out(self) -> Mapping[str, tuple[str | None, str | None]] | None:
        """The columns that can't be compared, with their type in the reference and here; None without a comparison."""
        path = self.folder / LEFT_OUT
        return json.loads(path.read_text()) if path.is_file() else None


def start(
    frame: pd.DataFrame,
    folder: Path,
    title: str,
    seed: int,
    seconds: float = SECONDS,
    reference: pd.DataFrame | None = None,
) -> Profiling:
    """Start profiling a sample of at most 1,000 rows and 30 columns of `frame`, and of `reference`.

    Files go to `folder`, without personal data.

    Raises:
        MissingExtra: where ydata-profiling is not installed.
        Missing: where Parquet can't hold a column.
    """
    expect_installed("ydata_profiling", "a profile of the data")
    sample = _sample(frame, seed)
    try:
        _write_rows(folder / SAMPLE, sample)
    except (TypeError, ValueError) as error:  # Arrow's own errors are such
        raise Missing(f"the table can't be profiled: {told(error)}") from error
    if reference is not None:
        _write_rows(folder / REFERENCE, _sample(reference, seed))
    command = [sys.executable, "-m", "firstfault.data.profile", str(folder), title]
    printed = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=printed)
    return Profiling(process, printed, folder, time.monotonic(), seconds, len(sample), sample.shape[1])


def _sample(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    sample = frame.sample(min(ROWS, len(frame)), random_state=seed).iloc[:, :COLUMNS]
    names = [shown(name, str) for name in sample.columns]
    if len(set(names)) < len(names):
        names = [f"{name}.{place}" for place, name in enumerate(names)]
    return pseudonymised(pd.DataFrame({name: as_written(sample.iloc[:, place]) for place, name in enumerate(names)}))


def _profile(folder: Path, title: str) -> None:
    """Write what findings need first, the pages after it."""
    warnings.simplefilter("ignore")
    os.environ["YDATA_PROFILING_NO_ANALYTICS"] = "True"
    names: dict[str, str] = {}
    report = _report(folder / SAMPLE, title, names)
    reference = _report(folder / REFERENCE, "reference", names) if (folder / REFERENCE).is_file() else None
    if reference is not None:
        write_json(folder / LEFT_OUT, {names[shown]: kinds for shown, kinds in _left_out(report, reference).items()})
    write_json(folder / ALERTS, [_told(alert, names) for alert in report.get_description().alerts])
    write_text(folder / PAGE, report.to_html())
    if reference is not None:
        _compare(report, reference, folder)


def _told(alert: Alert, names: Mapping[str, str]) -> dict[str, str]:
    shown = alert.column_name
    column = names.get(shown, shown)
    return {
        "alert": alert.alert_type.name.lower(),
        "column": column,
        "message": str(alert).replace(f"[{shown}]", f"[{column}]"),
    }


def _report(path: Path, title: str, names: dict[str, str]) -> ProfileReport:
    """The profile of a sample; `names` learns the columns by the name that the page shows."""
    with uncollected():
        from ydata_profiling import ProfileReport

    frame = pd.read_parquet(path)
    shown = _shown(list(frame.columns))
    names |= dict(zip(shown, frame.columns, strict=True))
    return ProfileReport(_inert(frame).set_axis(shown, axis=1), title=inert(title), minimal=True, progress_bar=False)


def _shown(columns: list[str]) -> list[str]:
    """The names of columns as texts that are no markup: ydata-profiling's templates escape neither names nor values."""
    plain = [inert(name) for name in columns]
    return [
        f"{text} #{place}" if plain.count(text) > 1 and text != name else text
        for place, (text, name) in enumerate(zip(plain, columns, strict=True))
    ]


def _inert(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose texts are no markup."""
    return frame.apply(lambda column: column if column.dtype.kind in "biufcmM" else _inert_column(column))


def _inert_column(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _inert_column(column.astype(object)).astype("category")
    return column.map(lambda value: inert(value) if isinstance(value, str) else value)


def _kinds(report: ProfileReport) -> dict[str, str]:
    return {name: entry["type"] for name, entry in report.get_description().variables.items()}


def _left_out(report: ProfileReport, reference: ProfileReport) -> dict[str, tuple[str | None, str | None]]:
    """ydata-profiling compares columns of one type only: the others, with their types in the reference and here."""
    here, there = _kinds(report), _kinds(reference)
    return {name: (there.get(name), here.get(name)) for name in {**here, **there} if here.get(name) != there.get(name)}


def _compare(report: ProfileReport, reference: ProfileReport, folder: Path) -> None:
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
    write_text(folder / COMPARED, reference.compare(report).to_html())


def _write_rows(path: Path, frame: pd.DataFrame) -> None:
    with replacing(path) as draft:
        frame.to_parquet(draft)


if __name__ == "__main__":
    _profile(Path(sys.argv[1]), sys.argv[2])
