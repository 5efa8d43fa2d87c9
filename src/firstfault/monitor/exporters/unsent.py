"""The records of a store in the order in which they are sent: a segment or an hour at a time, each file read once.

A segment that has grown is read again; an hour's Parquet never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from firstfault.monitor.hours import hour_in, hours_of, read_hour
from firstfault.monitor.record import Record
from firstfault.monitor.segments import FOLDER, read_segment
from firstfault.monitor.settings import Settings


class Source(NamedTuple):
    """Files that are read at once, by their names and sizes; Parquet is of one size for ever."""

    names: tuple[str, ...]
    size: int = 0


class Placed(NamedTuple):
    """A record with the place of its writer in an hour, `hour/writer`, and its position, which only grows there."""

    place: str
    position: int
    record: Record


class Unsent:
    """What of a store may not have been sent yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._done: set[Source] = set()

    def sources(self, since: str) -> Iterator[Source]:
        """Files of an hour and of later ones that were not wholly sent, the oldest first."""
        found = [*self._segments(since), *self._hours(since)]  # what moves between them is read twice, not never
        self._done &= set(found)
        for source in sorted(found, key=lambda source: _hour(source)):
            if source not in self._done:
                yield source

    def _segments(self, since: str) -> Iterator[Source]:
        for path in (self._settings.folder / FOLDER).glob("*/*.jsonl"):
            if path.parent.name >= since:
                try:
                    yield Source((str(path),), path.stat().st_size)
                except FileNotFoundError:  # it became Parquet in the meantime
                    continue

    def _hours(self, since: str) -> Iterator[Source]:
        """Each hour is one: a writer's records may lie in several of its files, in any order of these."""
        paths = sorted((path for path in hours_of(self._settings) if hour_in(path) >= since), key=hour_in)
        for _, files in groupby(paths, hour_in):
            yield Source(tuple(sorted(files)))

    def records(self, source: Source) -> list[Placed]:
        """The records of a source, those of each writer in their order."""
        read: Iterable[Record] = (
            record
            for name in source.names
            for record in (read_segment(Path(name)) if name.endswith(".jsonl") else read_hour(name))
        )
        return sorted((_placed(record) for record in read), key=lambda each: each[:2])

    def done(self, source: Source) -> None:
        """Note that a source was wholly sent, as far as it was written."""
        self._done.add(source)


def _hour(source: Source) -> tuple[str, int, tuple[str, ...]]:
    """A writer's tenth segment of an hour comes behind its second."""
    name = source.names[0]
    segment = name.endswith(".jsonl")
    return (Path(name).parent.name if segment else hour_in(name)), len(name), source.names


def _placed(record: Record) -> Placed:
    place, _, position = record.raw.rpartition(":")
    return Placed(place, int(position), record)
