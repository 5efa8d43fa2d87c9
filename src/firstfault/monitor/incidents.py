"""Incidents: periods in which serving was worse than its control, each with what showed it, and its verdict."""

from __future__ import annotations

from typing import Any

import msgspec

from firstfault.monitor.database import Database

KEEP = """INSERT INTO incidents (id, model, opened, document) VALUES (:id, :model, :opened, :document)
    ON CONFLICT (id) DO UPDATE SET document = excluded.document"""


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one monitor saw of an incident."""

    monitor: str
    place: str
    """What it is about: a field, a stage, a kind of event, a class."""
    log_e: float
    began: float
    message: str


class Incident(msgspec.Struct, frozen=True, omit_defaults=True):
    """A period in which serving is worse than its control. Times are seconds since 1970."""

    id: str
    model: str
    monitor: str
    """Which monitor's evidence opened it: bad_events, latency:model, scores …"""
    began: float
    """Where the change is believed to begin; never after `opened`."""
    opened: float
    """When the evidence passed its bound."""
    log_e: float
    """The natural logarithm of the evidence (an e-value) that opened it."""
    message: str
    """What was seen, in a sentence with its numbers."""
    version: str = ""
    closed: float | None = None
    requests: tuple[str, ...] = ()
    """References (`Record.raw`) of requests that show it."""
    control: tuple[str, ...] = ()
    """References of healthy requests of the same hours, or of the same hours of the week before."""
    usual: tuple[str, ...] = ()
    """References of healthy requests of those that said what is usual: before any change that was noticed late."""
    verdict: dict[str, Any] | None = None
    """The verdict's JSON, once it was diagnosed."""
    evidence: tuple[Evidence, ...] = ()
    """Of every monitor that passed about the same requests, the strongest first."""

    def __repr__(self) -> str:
        state = "open" if self.closed is None else "closed"
        return f"Incident({self.id}, {state}, {self.monitor}: {self.message}; {len(self.requests)} requests)"

    @property
    def monitors(self) -> set[str]:
        """Every monitor that saw it."""
        return {self.monitor, *(each.monitor for each in self.evidence)}


class Incidents:
    """The incidents of one store's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, incident: Incident) -> None:
        """Write an incident, or what has become of it.

        Raises:
            StoreError: when the database doesn't take it.
        """
        document = msgspec.json.encode(incident).decode()
        row = {"id": incident.id, "model": incident.model, "opened": incident.opened, "document": document}
        self._database.write([(KEEP, [row])])

    def get(self, id_: str) -> Incident | None:
        """The incident of that id.

        Raises:
            StoreError: when the database doesn't answer.
        """
        found = self._read("SELECT document FROM incidents WHERE id = :id", id=id_)
        return found[0] if found else None

    def all(self, *, is_open: bool = False) -> list[Incident]:
        """Every incident, or those that are open, the oldest first.

        Raises:
            StoreError: when the database doesn't answer.
        """
        found = self._read("SELECT document FROM incidents ORDER BY opened, id")
        return [incident for incident in found if not (is_open and incident.closed is not None)]

    def _read(self, query: str, **values: Any) -> list[Incident]:
        return [msgspec.json.decode(document, type=Incident) for (document,) in self._database.rows(query, **values)]
