"""Records on disk while their hour lasts: JSON lines, one file per writer and hour, held by a lock while it is written.

    segments/2026-11-29T12/4bf92f3577b3-0.jsonl

The kernel lets go of the lock when the writer dies, by whatever death, so that another can see that nobody writes.
"""

from __future__ import annotations

import bisect
import contextlib
import fcntl
import functools
import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from firstfault.monitor.record import Record

FOLDER = "segments"
HOUR = "%Y-%m-%dT%H"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


def hour_of(time: float) -> str:
    """The hour of a time, as its folder is called."""
    return datetime.fromtimestamp(time, UTC).strftime(HOUR)


@functools.lru_cache(maxsize=64)
def begin_of(hour: str) -> float | None:
    """When an hour begins, as a folder or a record's reference names it; None where it names none."""
    try:
        return datetime.strptime(hour, HOUR).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


class Segment:
    """The file to which a writer adds its records of one hour."""

    def __init__(self, store: Path, hour: str, writer: str) -> None:
        self.hour = hour
        folder = store / FOLDER / hour
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path, self._file = _created(folder, writer)
        self.written = 0
        """How many of the last records are whole on the disk."""

    def write(self, records: list[Record]) -> None:
        """Add records, and hand them to the system.

        Raises:
            OSError: when the disk takes them not, or not whole.
        """
        lines = [_encode(record) + b"\n" for record in records]
        data, done = memoryview(b"".join(lines)), 0
        try:
            while done < len(data):
                done += os.write(self._file, data[done:])
        finally:
            self.written = bisect.bisect_right(list(itertools.accumulate(map(len, lines))), done)

    def close(self) -> None:
        """Let go of the file and its lock; a file without a record is removed."""
        with contextlib.suppress(OSError):
            if os.fstat(self._file).st_size == 0:
                self.path.unlink()
        os.close(self._file)


def _created(folder: Path, writer: str) -> tuple[Path, int]:
    """A new file, locked."""
    number = 0
    while True:
        path = folder / f"{writer}-{number}.jsonl"
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        except FileExistsError:
            number += 1
            continue
        fcntl.flock(file, fcntl.LOCK_EX)
        return path, file


@contextlib.contextmanager
def nobody_writes(path: Path) -> Iterator[bool]:
    """Whether no process writes to a segment; none begins to within the block."""
    file = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def read_segment(path: Path) -> Iterator[Record]:
    """The records of a segment. A last line that is not whole, as after a full disk, is none."""
    try:
        with path.open("rb") as lines:
            for line in lines:
                with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
                    yield _decode(line)
    except FileNotFoundError:  # it became Parquet in the meantime
        return
