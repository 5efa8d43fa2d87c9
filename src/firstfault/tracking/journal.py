"""What a run has to tell MLflow, kept in order until its store is opened: the verdict does not wait for it.

Importing MLflow and opening its store takes longer than the checks of a small target. A run that is killed before
leaves its journal in its folder; the next run that opens the store records it, as killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstfault.output.whole_files import PRIVATE
from firstfault.runs.state import State
from firstfault.tracking.runs import Tracker
from firstfault.tracking.store import open_tracker

NAME = "mlflow.jsonl"


@dataclass(frozen=True)
class Entry:
    """One thing to be told: the method of `Tracker`, the run by the name that it has in the journal, and the rest."""

    method: str
    run: str
    values: tuple[Any, ...]
    at: float


def _kept(method: str) -> Callable[..., None]:
    def keep(journal: Journal, run: str, *values: Any) -> None:
        journal.add(Entry(method, run, values, time.time()))

    return keep


class Journal:
    """Takes what `Tracker` takes. Once it is opened, what comes is passed on."""

    def __init__(self, file: Path, experiment: str) -> None:
        self.file = file
        self.entries: list[Entry] = []
        self.tracker: Tracker | None = None
        self._runs: dict[str, str] = {}
        self._started = 0
        self._write({"experiment": experiment, "host": socket.gethostname(), "pid": os.getpid()})

    metrics = _kept("metrics")
    series = _kept("series")
    params = _kept("params")
    tags = _kept("tags")
    rename = _kept("rename")
    files = _kept("files")
    text = _kept("text")
    model = _kept("model")
    dataset = _kept("dataset")
    end = _kept("end")

    def start(self, name: str, parent: str | None = None, tags: Mapping[str, object] | None = None) -> str:
        """Begin a run, below `parent` if given; its name in the journal."""
        self._started += 1
        run = f"run {self._started}"
        self.add(Entry("start", run, (name, parent, dict(tags or {})), time.time()))
        return run

    def of_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        self.add(Entry("of_experiment", "", (dict(tags),), time.time()))

    def add(self, entry: Entry) -> None:
        """Pass an entry on, or keep it."""
        if self.tracker is not None:
            _tell(self.tracker, entry, self._runs)
            return
        self.entries.append(entry)
        self._write([entry.method, entry.run, entry.values, entry.at])

    def open(self, tracker: Tracker, run: str) -> str:
        """Tell all that was kept; the id of a run that has this name in the journal."""
        self.tracker = tracker
        for entry in self.entries:
            _tell(tracker, entry, self._runs)
        self.file.unlink(missing_ok=True)
        return self._runs.get(run, "")

    def _write(self, line: object) -> None:
        """A full disk costs what is left of a run that is killed, and nothing else."""
        with contextlib.suppress(OSError):
            handle = os.open(self.file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, PRIVATE)
            with os.fdopen(handle, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, default=str) + "\n")


def _tell(tracker: Tracker, entry: Entry, runs: dict[str, str]) -> None:
    """Say an entry to the store, as of when it was made."""
    if entry.method == "of_experiment":
        tracker.of_experiment(*entry.values)
    elif entry.method == "start":
        name, parent, tags = entry.values
        runs[entry.run] = tracker.start(name, runs[parent] if parent else None, tags, at=entry.at)
    elif entry.method == "end":
        [status] = entry.values or ["FINISHED"]
        tracker.end(runs[entry.run], status, entry.at)
    else:
        getattr(tracker, entry.method)(runs[entry.run], *entry.values)


def record_killed(state: State) -> list[str]:
    """Record the runs of a state folder that were killed before they had opened the store; their folders."""
    import psutil

    recorded = []
    for file in state.runs.glob(f"*/{NAME}"):
        with contextlib.suppress(Exception):  # what can't be read is left where it is
            head, *lines = _lines(file)
            if head["host"] != socket.gethostname() or psutil.pid_exists(head["pid"]):
                continue
            _record(open_tracker(state, head["experiment"]), [_entry(*line) for line in lines])
            file.unlink()
            recorded.append(str(file.parent))
    return recorded


def _lines(file: Path) -> Iterator[Any]:
    """Those of a journal that are whole: a kill may have torn the last."""
    for line in file.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def _entry(method: str, run: str, values: list[Any], at: float) -> Entry:
    first, *rest = values or [None]
    return Entry(method, run, ([Path(path) for path in first], *rest) if method == "files" else tuple(values), at)


def _record(tracker: Tracker, entries: list[Entry]) -> None:
    runs: dict[str, str] = {}
    for entry in entries:
        _tell(tracker, entry, runs)
    ended = {entry.run for entry in entries if entry.method == "end"}
    for name in runs.keys() - ended:
        tracker.tags(runs[name], {"firstfault.status": "killed"})
        tracker.end(runs[name], "KILLED", at=entries[-1].at)
