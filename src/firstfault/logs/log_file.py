"""A file of lines that any number of processes append to, rotated by size and age, and kept for a time and a size.

The handlers of the standard library rotate by size or by age, keep a number of files, lose lines when two processes
rotate, and print what goes wrong. Here each line is one `write` of a file opened to append, which the system keeps
whole; a process that finds the file renamed by another opens the new one. Nothing raises: what could not be written
is counted.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from firstfault.values import is_number

SUFFIX = ".jsonl"
RETRY_SECONDS = 1.0
"""A folder that could not be written is tried again so much later."""
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


@dataclass(frozen=True)
class Keeping:
    """When a file is rotated, and how long rotated ones are kept."""

    rotate_bytes: int = 10 * 2**20
    rotate_seconds: float = 86_400.0
    keep_bytes: int = 2**30
    keep_seconds: float = 14 * 86_400.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            above_0(name, value)


def above_0(name: str, value: float) -> float:
    """A number that must be finite and above 0.

    Raises:
        ValueError: for any other.
    """
    if not is_number(value) or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a number above 0, but got {value!r}")
    return value


class LogFile:
    """`folder/name.jsonl`, and the rotated `folder/name.TIME-xxxx.jsonl` beside it.

    `lost` counts the lines that could not be written, and `why` says what the last of them met.
    """

    def __init__(self, folder: Path, name: str, keeping: Keeping | None = None) -> None:
        self.folder, self.name, self.keeping = folder, name, keeping or Keeping()
        self.path = folder / f"{name}{SUFFIX}"
        self.lost, self.why = 0, ""
        self._lock = threading.RLock()  # a signal handler may log while its thread is here
        self._file, self._inode, self._process = -1, (0, 0), 0
        self._began = self._refused = 0.0
        self._torn = False

    def write(self, line: bytes) -> bool:
        """Append one line, without its end; False where it was lost."""
        with self._lock:
            try:
                self._ready(len(line))
                self._append(line)
            except OSError as error:
                self._lose(error)
                return False
        return True

    def prepare(self) -> bool:
        """Open the file before there is a line; False where that can't be done."""
        with self._lock:
            try:
                self._ready(0)
            except OSError as error:
                self.why = error.strerror or str(error)
                return False
        return True

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        with self._lock:
            self._close()

    def after_fork(self) -> None:
        """Let a forked process open the file anew, with a lock that nobody holds and a count of its own."""
        self._lock = threading.RLock()
        self.lost = 0

    def _ready(self, size: int) -> None:
        """Have the file open, also where another process has renamed it or somebody has removed it."""
        if self._file >= 0 and self._process == os.getpid() and self._is_current():
            if not self._is_full(size):
                return
            self._rotate()
        elif self._refused and time.monotonic() - self._refused < RETRY_SECONDS:
            raise OSError(self.why)
        self._close()
        self._open()

    def _is_current(self) -> bool:
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._inode

    def _is_full(self, size: int) -> bool:
        now = os.fstat(self._file).st_size
        aged = time.time() - self._began > self.keeping.rotate_seconds
        return now > 0 and (now + size > self.keeping.rotate_bytes or aged)

    def _rotate(self) -> None:
        """Rename the file; two processes that do so at once rename two files, and no line is lost.

        Where the folder does not let it, the file grows on: that harms less than lines that are lost.
        """
        moment = f"{datetime.now(UTC):%Y%m%dT%H%M%S}Z-{token_hex(2)}"
        with contextlib.suppress(OSError):
            self.path.rename(self.folder / f"{self.name}.{moment}{SUFFIX}")

    def _open(self) -> None:
        try:
            self.folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._file = os.open(self.path, flags, PRIVATE_FILE)
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode):
                self._close()
                raise OSError(f"{self.path.name} is no regular file")
        except OSError:
            self._refused = time.monotonic()
            raise
        self._inode, self._process, self._refused = (found.st_dev, found.st_ino), os.getpid(), 0.0
        self._began = self._birth() if found.st_size else time.time()
        self._purge()

    def _birth(self) -> float:
        """When the first line of a file that goes on was written."""
        with contextlib.suppress(OSError, ValueError), self.path.open("rb") as file:
            head = file.read(64).partition(b'"@timestamp": "')[2][:19].decode("ascii")
            return datetime.fromisoformat(head).replace(tzinfo=UTC).timestamp()
        return time.time()

    def _append(self, line: bytes) -> None:
        whole = (b"\n" if self._torn else b"") + line + b"\n"
        written = os.write(self._file, whole)
        self._torn = written < len(whole) and (self._torn or written > 0)
        if written < len(whole):
            raise OSError(f"only {written} of {len(whole)} bytes fitted")

    def _lose(self, error: OSError) -> None:
        self.lost += 1
        self.why = error.strerror or str(error)

    def _close(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = -1

    def _purge(self) -> None:
        """Remove rotated files that are too old, and the oldest of those that are too much together."""
        left = self.keeping.keep_bytes
        with contextlib.suppress(OSError):
            for changed, size, path in sorted(self._rotated(), reverse=True):
                left -= size
                if left < 0 or time.time() - changed > self.keeping.keep_seconds:
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _rotated(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.glob(f"{self.name}.*Z-????{SUFFIX}"):
            with contextlib.suppress(OSError):
                seen = path.stat()
                found.append((seen.st_mtime, seen.st_size, path))
        return found
