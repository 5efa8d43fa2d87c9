"""Detection over a store: on from where the last run was, each request once, whoever was killed.

What is known, how far it has come, and the incidents are written in one transaction.
"""

from __future__ import annotations

import base64
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from firstfault.errors import FirstfaultError
from firstfault.monitor.assertions import Assertion
from firstfault.monitor.database import HOLD
from firstfault.monitor.detect.detector import Detector
from firstfault.monitor.detect.failures import Failures
from firstfault.monitor.detect.losses import Losses
from firstfault.monitor.detect.settings import Detection
from firstfault.monitor.incidents import KEEP, Incident
from firstfault.monitor.record import Record
from firstfault.monitor.store import Store

TABLE = "CREATE TABLE IF NOT EXISTS detection (name TEXT PRIMARY KEY, document TEXT)"
PUT = """INSERT INTO detection (name, document) VALUES (:name, :document)
    ON CONFLICT (name) DO UPDATE SET document = excluded.document"""
STATE, LEARNED = "state", "learned:"
MOST_PENDING = 20_000
"""Labels that wait for their requests."""
LABELS_BACK = 60.0
"""Seconds within which labels of several processes may be written in another order than their times."""
HOURS_BACK = 3
"""Hours that are looked at again: another machine's come when they are over."""


class Progress(msgspec.Struct):
    """How far detection has come."""

    hour: str = ""
    """Hours before it are done."""
    positions: dict[str, int] = {}
    """Of each writer's records in an hour, `hour/writer`, the last one that was looked at."""
    label_time: float = 0.0
    read_labels: set[str] = set()
    """Requests whose labels, of the last times before it, were read."""
    pending: dict[str, Any] = {}
    """Labels whose requests have not come yet."""


class Found(NamedTuple):
    """What a run found."""

    requests: int
    labels: int
    opened: list[Incident]
    closed: list[Incident]
    open: list[Incident]
    told: list[str]
    enough: bool
    """Whether anything could be compared with anything."""


class Run:
    """Detection over one store.

    Args:
        store: where the requests lie.
        settings: how seldom it may be wrong, and what is too small to matter.
        assertions: the user's own functions of (input, output).
        since: requests before it are not looked at.
        usual: the period whose requests say what is usual; left out, the first ones do.
    """

    def __init__(
        self,
        store: Store,
        settings: Detection,
        assertions: Sequence[Assertion] = (),
        since: float = 0.0,
        usual: tuple[float, float] | None = None,
    ) -> None:
        self.store, self.since = store, since
        store.database.write([(TABLE, [{}])])
        self.progress = Progress()
        self._kept: set[str] = set()
        self.losses, self.failures = Losses(settings.alpha, settings.closes), Failures()
        self.detector = self._restored(settings, assertions)
        if usual is not None and not self.detector.watches:
            self.detector = Detector(settings, self._of_period(*usual), assertions)

    def once(self) -> Found:
        """Look at what has come since the last time, and write what came of it.

        Raises:
            StoreError: when the database does not answer; nothing was written then, and the next run does it all again.
        """
        records = sorted(self._new(), key=lambda record: (record.time, record.raw))
        changed = self.detector.feed(record for record in records if record.time >= self.since)
        labelled = self._labelled(records)
        changed += self.detector.feed_labels(labelled)
        now = records[-1].time if records else time.time()
        changed += self.failures.spared("telemetry", lambda: self.losses.feed(self.store, records, now)) or []
        self._write(changed, bool(records or labelled))
        return self._found(len(records), len(labelled), changed)

    def _of_period(self, since: float, until: float) -> list[Record]:
        records = self.store.records(since, until)
        if len(records) < self._fewest:
            raise FirstfaultError(
                f"the usual period must hold at least {self._fewest} kept requests, but it holds {len(records)}"
            )
        return records

    _fewest = 200

    def _restored(self, settings: Detection, assertions: Sequence[Assertion]) -> Detector:
        rows = dict(self.store.database.rows("SELECT name, document FROM detection"))
        detector = Detector(settings, assertions=assertions)
        if STATE not in rows:
            return detector
        state = _unpacked(rows[STATE])
        self.progress = msgspec.convert(state["progress"], Progress)
        for name, document in rows.items():
            if name.startswith(LEARNED):
                self._kept.add(name)
                state["detector"]["learned_from"][name.removeprefix(LEARNED)] = _unpacked(document)
        detector.restore(state["detector"])
        self.losses.restore(state["losses"])
        return detector

    def _new(self) -> Iterator[Record]:
        """The records that were not looked at yet."""
        progress, positions = self.progress, dict(self.progress.positions)
        latest = progress.hour
        for record in self.store.written(progress.hour):
            place, _, position = record.raw.rpartition(":")
            if not position.isdigit() or int(position) <= positions.get(place, -1):
                continue
            progress.positions[place] = max(progress.positions.get(place, -1), int(position))
            latest = max(latest, place.partition("/")[0])
            yield record
        hours = sorted({place.partition("/")[0] for place in progress.positions})[-HOURS_BACK:]
        progress.hour = hours[0] if hours else latest
        progress.positions = {place: at for place, at in progress.positions.items() if place.partition("/")[0] in hours}

    def _labelled(self, new: Sequence[Record]) -> list[Record]:
        """The requests whose labels have come since the last time."""
        fresh = self._new_labels()
        wanted = {**self.progress.pending, **fresh}
        if not wanted:
            return []
        found = [record for record in new if record.request_id in wanted]
        if fresh:
            there = {record.raw for record in found}
            found += [
                record
                for record in self.store.of_requests(fresh.keys() - {record.request_id for record in found})
                if record.raw not in there
            ]
        known = {record.request_id for record in found}
        left = {name: label for name, label in wanted.items() if name not in known}
        self.progress.pending = dict(list(left.items())[-MOST_PENDING:])
        labelled = [
            msgspec.structs.replace(each, label=wanted[each.request_id]) for each in found if each.label is None
        ]
        return sorted(labelled, key=lambda record: (record.time, record.raw))

    def _new_labels(self) -> dict[str, Any]:
        """The labels that were not read yet; those that others wrote meanwhile, with an earlier time, too."""
        progress = self.progress
        query = "SELECT request_id, label, time FROM labels WHERE time >= :since ORDER BY time"
        rows = self.store.database.rows(query, since=progress.label_time - LABELS_BACK)
        fresh = {name: msgspec.json.decode(label) for name, label, _ in rows if name not in progress.read_labels}
        if rows:
            progress.label_time = float(rows[-1][2])
            progress.read_labels = {name for name, _, time in rows if time >= progress.label_time - LABELS_BACK}
        return fresh

    def _write(self, changed: Sequence[Incident], moved: bool) -> None:
        if not moved and not changed:
            return
        state = self.detector.state()
        learned = state.pop("learned_from")
        rows = [{"name": LEARNED + name, "document": _packed(each)} for name, each in learned.items()]
        rows = [row for row in rows if row["name"] not in self._kept]
        packed = _packed(
            {
                "progress": msgspec.to_builtins(self.progress),
                "detector": {**state, "learned_from": {}},
                "losses": self.losses.state(),
            }
        )
        latest = {incident.id: incident for incident in [*changed, *self._open()]}
        kept = [
            {
                "id": incident.id,
                "model": incident.model,
                "opened": incident.opened,
                "document": msgspec.json.encode(self._with_verdict(incident)).decode(),
            }
            for incident in latest.values()
        ]
        held = [
            {"raw": raw, "incident": incident.id}
            for incident in latest.values()
            for raw in (*incident.requests, *incident.control, *incident.usual)
        ]
        self.store.database.write([(PUT, [*rows, {"name": STATE, "document": packed}]), (KEEP, kept), (HOLD, held)])
        self._kept |= {row["name"] for row in rows}

    def _open(self) -> list[Incident]:
        return [*self.detector.open, *([] if self.losses.open is None else [self.losses.open])]

    def _with_verdict(self, incident: Incident) -> Incident:
        """An incident with the verdict that a diagnosis may have written meanwhile."""
        rows = self.store.database.rows("SELECT document FROM incidents WHERE id = :id", id=incident.id)
        if not rows:
            return incident
        before = msgspec.json.decode(rows[0][0], type=Incident)
        return msgspec.structs.replace(incident, verdict=before.verdict)

    def _found(self, requests: int, labels: int, changed: Sequence[Incident]) -> Found:
        opened = [incident for incident in changed if incident.closed is None]
        closed = [incident for incident in changed if incident.closed is not None]
        told = [*self.detector.told(), *self.failures.sentences()]
        return Found(requests, labels, opened, closed, self._open(), told, bool(self.detector.watches))


def _packed(value: Any) -> str:
    return base64.b85encode(zlib.compress(msgspec.json.encode(value), 6)).decode()


def _unpacked(text: str) -> Any:
    return msgspec.json.decode(zlib.decompress(base64.b85decode(text)))
