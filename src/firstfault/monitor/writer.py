"""The process behind a serving process: it empties the queue, and writes what is kept.

`python -m firstfault.monitor.writer QUEUE OWNER`, with the settings on its input. It takes from the queue, and gives
the room back only when records and counts are written: killed at any moment, it loses nothing that its successor can't
take again. It ends when its owner has, and the queue is empty.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from firstfault.data.privacy.keyed import key_of
from firstfault.monitor.analysis import Analyst, Seen
from firstfault.monitor.counts import Counts
from firstfault.monitor.database import BEAT, COUNT, GET_ON, LOSE, TOTAL, Database, StoreError
from firstfault.monitor.record import Captured, Record
from firstfault.monitor.resources import Watched
from firstfault.monitor.ring import Ring
from firstfault.monitor.segments import FOLDER, Segment, hour_of
from firstfault.monitor.settings import Settings, note_settings
from firstfault.output.sqlite import Values
from firstfault.runs.ownership import ends_with_us

logger = logging.getLogger(__name__)
AT_ONCE = 500
"""Requests that are taken from the queue before the writer says that it lives."""
WRITTEN_EVERY = 0.5
"""Seconds after which what was taken is written."""
MOST_UNWRITTEN = 2_000
BEAT_SECONDS = 5.0
"""After which the writer says in the database that it lives, also where there is nothing to write."""
LIVE = frozenset({"asgi", "wsgi", "function", "proxy"})
"""Ways in on which a request is handed over when it is over; others tell of it later."""
PAUSE_SECONDS = 0.05
"""Between two looks at the queue: a writer that wakes up more often takes the processor's caches from the server."""
NICE = 5
"""Serving comes first where a processor is short."""
HOUR = 3600
_decode = msgspec.msgpack.Decoder(Captured).decode


class Writer:
    """The work of the process."""

    def __init__(self, settings: Settings, ring: Ring, owner: int) -> None:
        self.settings, self.ring, self.owner = settings, ring, owner
        self.database = Database(settings)
        self.analyst = Analyst(settings, key_of(settings.folder))
        self.watched = Watched(owner)
        self.counts, self.losses = Counts(), Counter[str]()
        self.records: list[Record] = []
        self.position = self._continued()
        self.unwritten, self.written_at = 0, time.monotonic()
        self.beat_at, self.oldest = -BEAT_SECONDS, float("inf")
        self.lost_before = ring.counts
        self.hour = hour_of(time.time())
        self.segment: Segment | None = None
        self.closing_hours: subprocess.Popen[bytes] | None = None
        self.detecting: subprocess.Popen[bytes] | None = None

    def _continued(self) -> int:
        """The position from which to go on: behind what a predecessor has counted."""
        query = "SELECT position FROM progress WHERE writer = :writer"
        try:
            rows = self.database.rows(query, writer=self.ring.name)
        except StoreError as error:
            logger.warning("the database does not answer: %s", error)
            rows = []
        return max(self.ring.tail, rows[0][0] if rows else 0)

    def run(self, *, patient: bool = False) -> None:
        """Work until the owner has ended or closes the queue, and all is written.

        Past hours that become Parquet meanwhile are waited for by a `patient` writer alone: the next one does it else.
        """
        with contextlib.suppress(OSError):
            note_settings(self.settings)
        self.close_past_hours()
        if self.settings.detect:
            self.detecting = self._beside("firstfault.monitor.detect.process")
        while True:
            self.ring.beat()
            self.watched.now()
            over = self.ring.closing or os.getppid() != self.owner
            taken = self.take()
            if self.unwritten >= MOST_UNWRITTEN or time.monotonic() - self.written_at > WRITTEN_EVERY:
                self.write()
            if over and not taken:
                break
            if not over and taken < AT_ONCE:
                time.sleep(PAUSE_SECONDS)
        self.write()
        self._leave()
        if self.segment is not None:
            self.segment.close()
        if self.closing_hours is not None:
            if not patient:
                self.closing_hours.kill()
            self.closing_hours.wait()
        if self.detecting is not None:
            self.detecting.kill()
            self.detecting.wait()

    def take(self) -> int:
        """Look at what waits in the queue; how much that was."""
        found, self.position = self.ring.take(AT_ONCE, self.position)
        for position, payload in found:
            self.look(position, payload)
        self.unwritten += len(found)
        return len(found)

    def look(self, position: int, payload: bytes) -> None:
        """Look at one request. One that can't be looked at is counted, and ends nothing."""
        try:
            seen = self.analyst.see(_decode(payload))
            self.counts.add(seen)
            if seen.captured.way in LIVE:
                self.oldest = min(self.oldest, seen.captured.time + seen.captured.total)
            if seen.kept is not None:
                self.records.append(self._record(seen, position))
        except Exception:
            logger.exception("a request could not be looked at")
            self.losses["analysis"] += 1

    def _record(self, seen: Seen, position: int) -> Record:
        return self.analyst.record(seen, f"{self.hour}/{self.ring.name}:{position}", self.watched.now())

    def write(self) -> None:
        """Write what was taken, then its counts, and only then give the queue its room back."""
        self.written_at = time.monotonic()
        self._write_records()
        self._note_losses()
        if self.unwritten or self.losses or time.monotonic() - self.beat_at > BEAT_SECONDS:
            self._write_counts()
        self.ring.release(self.position)
        self.unwritten = 0
        self._turn_hour()

    def _write_records(self) -> None:
        records, self.records = self.records, []
        if not records:
            return
        try:
            if self.segment is None:
                self.segment = Segment(self.settings.folder, self.hour, self.ring.name)
            self.segment.write(records)
        except OSError as error:  # a full disk: what can't be written is lost, and the queue has to go on
            lost = len(records) - (self.segment.written if self.segment is not None else 0)
            logger.warning("%d records could not be written: %s", lost, error)
            self.losses["disk"] += lost
            self._end_segment()

    def _end_segment(self) -> None:
        if self.segment is not None:
            with contextlib.suppress(OSError):
                self.segment.close()
        self.segment = None

    def _note_losses(self) -> None:
        now = self.ring.counts
        for name in ("dropped", "damaged"):
            if (lost := now[name] - self.lost_before[name]) > 0:
                self.losses["queue" if name == "dropped" else name] += lost
        self.lost_before = now

    def _write_counts(self) -> None:
        """Write the counts; where the database takes nothing, they wait for the next time."""
        now = time.time()
        where = {"writer": self.ring.name}
        losses = [
            {**where, "hour": int(now // HOUR) * HOUR, "cause": cause, "n": n} for cause, n in self.losses.items()
        ]
        steps: list[tuple[str, Sequence[Values]]] = [
            (COUNT, list(self.counts.rows())),
            (LOSE, losses),
            (TOTAL, [*self.counts.totals(), *_lost_ever(self.losses, int(now))]),
            (GET_ON, [{**where, "position": self.position, "time": now}]),
            (BEAT, [{**where, "time": now, "lag": self._lag(now)}]),
        ]
        try:
            self.database.write(steps)
        except StoreError as error:
            logger.warning("counts wait, since the database takes nothing: %s", error)
            return
        self.counts.clear()
        self.losses.clear()
        self.beat_at, self.oldest = time.monotonic(), float("inf")

    def _lag(self, now: float) -> float:
        """Seconds from the end of the oldest request that is being written until now."""
        return max(0.0, now - self.oldest) if self.oldest < float("inf") else 0.0

    def _leave(self) -> None:
        """Say that this writer is not missing: it has ended."""
        with contextlib.suppress(StoreError):
            self.database.write([("DELETE FROM beats WHERE writer = :writer", [{"writer": self.ring.name}])])

    def _turn_hour(self) -> None:
        hour = hour_of(time.time())
        if hour != self.hour:
            self.hour = hour
            self._end_segment()
            self.analyst.sampler.begin_hour()
            self.close_past_hours()

    def close_past_hours(self) -> None:
        """Let a process of its own make Parquet of the hours that are over; it ends with this one."""
        running = self.closing_hours is not None and self.closing_hours.poll() is None
        if running or all(folder.name == self.hour for folder in (self.settings.folder / FOLDER).glob("*/")):
            return
        self.closing_hours = self._beside("firstfault.monitor.tidying")

    def _beside(self, module: str) -> subprocess.Popen[bytes] | None:
        """A process of a module of ours, with the settings on its input, that ends with this one."""
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, preexec_fn=ends_with_us()
            )
        except OSError as error:
            logger.warning("%s can't be begun: %s", module, error)
            return None
        assert process.stdin is not None
        with process.stdin as words:
            words.write(msgspec.json.encode(self.settings))
        return process


def _lost_ever(losses: Counter[str], now: int) -> list[Values]:
    """Losses as rows of the totals."""
    nobody = {"model": "", "version": "", "arm": "", "since": now, "last": now}
    return [{**nobody, "name": f"lost:{cause}", "n": n} for cause, n in sorted(losses.items())]


def main(queue: int, owner: int) -> None:
    """Be the writer of a queue."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    os.nice(NICE)
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
    Writer(settings, Ring(queue), owner).run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
