"""A store as its readers see it: records of all hours, with the labels that came later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from firstfault.monitor.database import Database
from firstfault.monitor.hours import drawn, hour_in, hours_of, ids_of_hour, read_hour, unique
from firstfault.monitor.record import Record
from firstfault.monitor.segments import FOLDER, begin_of, hour_of, read_segment
from firstfault.monitor.settings import Settings


class Store:
    """What one or several writers have recorded."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings)

    def records(self, since: float = 0.0, until: float = float("inf")) -> list[Record]:
        """The records of a period, the oldest first, each once, with its label where one is known."""
        found = [record for record in unique(self._all(since, until)) if since <= record.time < until]
        labels = self.labels()
        return sorted((_labelled(record, labels) for record in found), key=lambda record: (record.time, record.raw))

    def written(self, hour: str) -> Iterator[Record]:
        """The records that were written in an hour or later, each once, without labels that came later."""
        return unique(self._all(begin_of(hour) or 0.0, float("inf")))

    def of_requests(self, ids: Iterable[str]) -> list[Record]:
        """The records of some requests."""
        wanted = set(ids)
        return (
            [record for record in unique(self._all(0.0, float("inf"))) if record.request_id in wanted] if wanted else []
        )

    def _all(self, since: float, until: float) -> Iterator[Record]:
        folders = sorted((self.settings.folder / FOLDER).glob("*/"))
        for folder in folders:  # before the Parquet files: what moves from one to the other is read twice, not never
            if _may_hold(folder.name, since):
                segments = sorted(folder.glob("*.jsonl"))
                yield from drawn((record for path in segments for record in read_segment(path)), self.settings.control)
        for path in hours_of(self.settings):
            if _may_hold(hour_in(path), since):
                yield from read_hour(path)

    def request_ids(self) -> set[str]:
        """The ids of all requests that are kept."""
        found = {
            record.request_id
            for path in (self.settings.folder / FOLDER).glob("*/*.jsonl")
            for record in read_segment(path)
        }
        return found.union(*(ids_of_hour(path) for path in hours_of(self.settings)))

    def labels(self) -> dict[str, object]:
        """The labels that came later, by the ids of their requests."""
        return {
            name: msgspec.json.decode(label)
            for name, label in self.database.rows("SELECT request_id, label FROM labels")
        }

    def counted(self, since: float = 0.0) -> dict[str, int]:
        """How many requests of each kind there were, kept or not."""
        query = "SELECT name, SUM(n) FROM counts WHERE minute >= :since GROUP BY name ORDER BY name"
        return {name: int(n) for name, n in self.database.rows(query, since=int(since))}

    def losses(self) -> dict[str, int]:
        """What was lost, and why."""
        query = "SELECT cause, SUM(n) FROM losses GROUP BY cause ORDER BY cause"
        return {cause: int(n) for cause, n in self.database.rows(query)}

    def held(self) -> set[str]:
        """The references of the records that incidents hold."""
        return {raw for (raw,) in self.database.rows("SELECT raw FROM held")}


def _may_hold(hour: str, since: float) -> bool:
    """Whether an hour may hold records since a time: an answer may take an hour or more."""
    return not since or hour >= hour_of(max(0.0, since))


def _labelled(record: Record, labels: dict[str, object]) -> Record:
    if record.request_id not in labels:
        return record
    return msgspec.structs.replace(record, label=labels[record.request_id])
