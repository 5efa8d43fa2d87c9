"""The handler of standard logging that writes lines of JSON, and never harms or prints: what is lost is counted."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings

from firstfault.logs import trace_context
from firstfault.logs.limits import Limits, Rules
from firstfault.logs.line import MOST_NAME, Line, named_event
from firstfault.logs.log_file import LogFile
from firstfault.texts import shown

OWN_NAME = "firstfault.logs"


class JsonHandler(logging.Handler):
    """Writes each record that is admitted as one line of a file.

    Attributes:
        left_out: how many lines rates and samples have left out so far, by reason.
    """

    def __init__(self, file: LogFile, line: Line, limits: Limits | None = None, level: int | str = "INFO") -> None:
        super().__init__(level)
        self.file, self.line = file, line
        self.limits = limits or Limits(Rules(), Rules())
        self.left_out = {"rate": 0, "sample": 0}
        self._process = os.getpid()
        self._said_lost = 0
        self._warned = False

    @property
    def lost(self) -> int:
        """How many lines could not be written: full disk, folder that is read-only, a record that can't be shown."""
        return self.file.lost

    def line_of(self, record: logging.LogRecord) -> Line:
        """What writes a record as a line."""
        return self.line

    def prepare(self) -> None:
        """Open the file, so that a folder that can't be written is said at once."""
        if not self.file.prepare():
            self._warn()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless a rule leaves it out; nothing that goes wrong reaches the caller."""
        try:
            self._in_this_process()
            self._emit(record)
        except Exception as error:  # the user's own objects show themselves here
            self.file.lost += 1
            self.file.why = type(error).__name__
            self._warn()

    def close(self) -> None:
        """Tell of what was left out or lost since it was last told, and close the file."""
        with contextlib.suppress(Exception):
            self._tell()
        self.file.close()
        super().close()

    def _emit(self, record: logging.LogRecord) -> None:
        if self.limits.due():
            self._tell()
        event, level = event_of(record), record.levelname.lower()
        span = trace_context.current.get()
        if not self.limits.admit(event, level, span.trace_id if span else None):
            return
        share = self.limits.share.find(event, level)
        self._write(self.line_of(record).of(record, {"sample_share": share} if share is not None else None))

    def _write(self, line: bytes) -> None:
        before = self.file.lost
        if not self.file.write(line):
            self._warn()
        elif before > self._said_lost:
            self._said_lost = before
            lost = f"{before} lines of this process were lost until now: {self.file.why}"
            self._note(lost, logging.WARNING, "lines_lost", {"lost": before})

    def _tell(self) -> None:
        for left in self.limits.left_out():
            self.left_out[left.reason] += left.lines
            level = logging.WARNING if left.reason == "rate" else logging.INFO
            self._note(str(left), level, "lines_left_out", {"left_out": left.lines, "reason": left.reason})

    def _note(self, text: str, level: int, event: str, labels: dict[str, object]) -> None:
        note = logging.LogRecord(OWN_NAME, level, __file__, 0, text, (), None)
        note.__dict__["event"] = event
        self.file.write(self.line.of(note, labels))

    def _in_this_process(self) -> None:
        """A forked process begins with counts of its own."""
        if self._process != os.getpid():
            self._process, self._said_lost, self._warned = os.getpid(), 0, False
            self.left_out = {"rate": 0, "sample": 0}
            self.file.after_fork()
            self.limits.forget()

    def _warn(self) -> None:
        """Say once, as Python's warning, that lines are lost; a filter may make it an error, which is nobody's here."""
        if not self._warned:
            self._warned = True
            with contextlib.suppress(Exception):
                warnings.warn(f"the log {self.file.path} loses lines: {self.file.why}", RuntimeWarning, stacklevel=2)


def event_of(record: logging.LogRecord) -> str:
    """What a record is one of: the event it names, else its message before arguments are put in."""
    return (named_event(record) or (record.msg if isinstance(record.msg, str) else shown(record.msg, str)))[:MOST_NAME]
