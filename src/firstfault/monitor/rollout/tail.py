"""What a store has got since it was last looked at: records as they come, each once, at no cost for those before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from firstfault.monitor.hours import hour_in, hours_of, read_hour
from firstfault.monitor.record import Record
from firstfault.monitor.segments import FOLDER, hour_of
from firstfault.monitor.settings import Settings

HOURS = 3
"""Of so many hours it is remembered which records were seen: longer than it takes a segment to become Parquet."""
_decode = msgspec.json.Decoder(Record).decode


class Tail:
    """The end of a store, from a time on.

    A record that moves from a segment to Parquet between two looks is seen once, by its reference.
    """

    def __init__(self, settings: Settings, since: float) -> None:
        self.settings, self.since = settings, since
        self._offsets: dict[Path, int] = {}
        self._read: set[str] = set()
        self._seen: dict[str, set[str]] = {}

    def new(self) -> list[Record]:
        """The records that have come since the last look, as they stand for requests; controls stand for none."""
        found = [record for record in self._all() if self._is_new(record)]
        self._forget()
        return [record for record in found if record.weight > 0 and record.time >= self.since]

    def _all(self) -> Iterator[Record]:
        first = hour_of(max(0.0, self.since))
        for folder in sorted((self.settings.folder / FOLDER).glob("*/")):  # what moves meanwhile is then read below
            if folder.name >= first:
                for path in sorted(folder.glob("*.jsonl")):
                    yield from self._of_segment(path)
        for name in hours_of(self.settings):
            if hour_in(name) >= first and name not in self._read:
                self._read.add(name)
                yield from read_hour(name)

    def _of_segment(self, path: Path) -> Iterator[Record]:
        """The whole lines behind those that were read before; the last one may be on its way."""
        try:
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                whole, end, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return
        self._offsets[path] = self._offsets.get(path, 0) + len(whole) + len(end)
        for line in whole.split(b"\n"):
            with contextlib.suppress(msgspec.DecodeError, msgspec.ValidationError):
                yield _decode(line)

    def _is_new(self, record: Record) -> bool:
        seen = self._seen.setdefault(record.raw.partition("/")[0], set())
        if record.raw in seen:
            return False
        seen.add(record.raw)
        return True

    def _forget(self) -> None:
        """Let go of what will not come again: hours that are long over, and have no segment any more."""
        for hour in sorted(self._seen)[:-HOURS]:
            if not (self.settings.folder / FOLDER / hour).exists():
                del self._seen[hour]
        self._offsets = {path: offset for path, offset in self._offsets.items() if path.exists()}
