"""Served requests as records, by the monitor's own analysis: read, sampled, hashed, masked; then written as its writer
does, but by the clock of the stream."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from firstfault.data.privacy.keyed import key_of
from firstfault.monitor.analysis import Analyst
from firstfault.monitor.counts import Counts
from firstfault.monitor.database import COUNT, LABEL, LOSE
from firstfault.monitor.record import Captured, Record, Resources, Stream
from firstfault.monitor.segments import Segment, hour_of
from firstfault.monitor.settings import Settings, note_settings, settings_of
from firstfault.monitor.snapshot import snapshot
from firstfault.monitor.store import Store
from monitoring.served.server import Answer

JSON = b"application/json"
RING = 512
"""Bytes that a record takes in the queue beside what it holds; enough for a stream's positions to be true to life."""


@dataclass
class Request:
    """One request as it was served."""

    raw: Any
    time: float
    replica: int
    answer: Answer
    stages: dict[str, float]
    total: float
    resources: Resources
    version: str = "7"
    arm: str = "champion"
    gone: bool = False
    truth: Any = None
    parts: int = 0
    """In which the answer went out; 0 where it went at once."""
    waited: float = 0.0
    """Seconds for which the client let it wait."""


class Recording:
    """The records of a stream, as one writer for each replica makes them."""

    def __init__(self, model: str, store: Path, replicas: int, way: str, sample: float) -> None:
        self.settings: Settings = settings_of(model=model, store=store, sample=sample, version="7")
        self.way, self.counts = way, Counts()
        key = key_of(self.settings.folder)
        self.analysts = [Analyst(self.settings, key) for _ in range(replicas)]
        self.names = [secrets.token_hex(6) for _ in range(replicas)]
        self.positions, self.hours = [0] * replicas, [""] * replicas
        self.records: list[Record] = []
        self.truths: dict[str, tuple[Any, float]] = {}
        self.lost = 0
        self.number = 0

    def add(self, request: Request, *, labelled: bool, lost: bool = False) -> None:
        """Record one request, unless it is lost on the way."""
        name = f"r-{self.number:06d}"
        self.number += 1
        if labelled and request.truth is not None:
            self.truths[name] = (request.truth, request.time)
        if lost:
            self.lost += 1
            return
        captured = self._captured(name, request)
        at = request.replica % len(self.analysts)
        self._turn_hour(at, hour_of(request.time))
        seen = self.analysts[at].see(captured)
        self.counts.add(seen)
        self.positions[at] += RING
        if seen.kept is not None:
            raw = f"{self.hours[at]}/{self.names[at]}:{self.positions[at]}"
            self.records.append(self.analysts[at].record(seen, raw, request.resources))

    def _turn_hour(self, at: int, hour: str) -> None:
        if hour != self.hours[at]:
            self.hours[at] = hour
            self.analysts[at].sampler.begin_hour()

    def _captured(self, name: str, request: Request) -> Captured:
        answer = request.answer
        values = {"tensor": answer.tensor, "logits": answer.logits, "label": answer.label}
        captured = Captured(
            self.way,
            name,
            secrets.token_hex(16),
            secrets.token_hex(8),
            request.time,
            request.total,
            answer.status,
            self.settings.model,
            request.version,
            request.arm,
            stages=request.stages,
            values={cut: snapshot(value) for cut, value in values.items() if value is not None},
            marks=answer.marks,
            error=answer.error,
            disconnected=request.gone,
            stream=_parts(request) if request.parts else None,
        )
        if self.way == "function":
            captured.values["raw"] = snapshot(request.raw)
        else:
            self._by_http(captured, request)
        return captured

    @staticmethod
    def _by_http(captured: Captured, request: Request) -> None:
        body, shown = msgspec.json.encode(request.raw), msgspec.json.encode(request.answer.shown, enc_hook=_plain)
        captured.method, captured.path = "POST", "/predict"
        captured.headers = [(b"content-type", JSON), (b"content-length", str(len(body)).encode())]
        captured.request, captured.request_bytes = body, len(body)
        captured.response, captured.response_bytes, captured.response_type = shown, len(shown), JSON

    def labelled(self) -> list[Record]:
        """The records in the order of their times, with their labels."""
        return [
            msgspec.structs.replace(record, label=_plain(self.truths[record.request_id][0]))
            if record.request_id in self.truths
            else record
            for record in self.records
        ]

    def write(self, delay: float) -> Store:
        """Write records, counts, losses and labels, which come `delay` seconds after their requests."""
        note_settings(self.settings)
        for (hour, writer), records in _by_place(self.records).items():
            segment = Segment(self.settings.folder, hour, writer)
            segment.write(records)
            segment.close()
        store = Store(self.settings)
        store.database.write([(COUNT, list(self.counts.rows()))])
        if self.lost:
            hour = int(self.records[-1].time // 3600) * 3600
            store.database.write([(LOSE, [{"writer": self.names[0], "hour": hour, "cause": "queue", "n": self.lost}])])
        rows = [
            {"request_id": name, "label": msgspec.json.encode(_plain(truth)).decode(), "time": time + delay}
            for name, (truth, time) in self.truths.items()
        ]
        if rows:
            store.database.write([(LABEL, rows)])
        return store


def _parts(request: Request) -> Stream:
    """Its first part leaves when the answer is there, the others as the client takes them."""
    gap = request.waited / (request.parts - 1)
    return Stream(request.total - request.waited, request.parts, gap, min(2 * gap, request.waited))


def _by_place(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        hour, rest = record.raw.split("/")
        found.setdefault((hour, rest.split(":")[0]), []).append(record)
    return found


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
