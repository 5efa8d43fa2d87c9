"""Sends what a store holds over OTLP/HTTP: kept requests as spans, metrics, and incidents as log records.

How far it has come is kept in the store's database, so that each request is sent once: of each writer in an hour,
whose positions only grow, the last one that was sent. What a receiver doesn't take waits in the store, for a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping

from firstfault.data.privacy.keyed import key_of
from firstfault.monitor.database import Database, StoreError
from firstfault.monitor.exporters.figures import families
from firstfault.monitor.exporters.incident_figures import words_since
from firstfault.monitor.exporters.otlp_logs import log_record
from firstfault.monitor.exporters.otlp_metrics import metrics_data
from firstfault.monitor.exporters.otlp_receiver import LOGS, METRICS, TRACES, Exporters, keys_of_receivers
from firstfault.monitor.exporters.otlp_spans import spans
from firstfault.monitor.exporters.outbox import UNDELIVERED, Letter, Outbox
from firstfault.monitor.exporters.unsent import Unsent
from firstfault.monitor.incidents import Incidents
from firstfault.monitor.record import Record
from firstfault.monitor.segments import hour_of
from firstfault.monitor.settings import Settings

logger = logging.getLogger(__name__)
AT_ONCE = 500
"""Requests that are sent in one go."""
GIVE_UP_SECONDS = 900.0
"""A receiver that has taken nothing for so long loses the oldest requests that wait, one go after the other."""
LATE_SECONDS = 3_600.0
"""A segment may get its last records so long after its hour began to be over."""
LOCK = "otlp.lock"
NANO = 1_000_000_000
WAITING = {
    TRACES: "they wait in the store",
    LOGS: "they are tried again",
    METRICS: "the next ones will say the same and more",
}
SENT = """INSERT INTO exported (receiver, writer, position, time) VALUES (:receiver, :writer, :position, :time)
    ON CONFLICT (receiver, writer) DO UPDATE SET position = excluded.position, time = excluded.time"""
ROUND = ""
"""The place of the row that says from when on there may be something to send."""
OTLP = "otlp"
"""The way of records that came as spans: sent back, they would go in a circle."""


class OtlpSender:
    """What sends one store's records, metrics and incidents.

    Raises:
        FirstfaultError: when no receiver is named, or the exporters are not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._receivers = keys_of_receivers(os.environ)
        self._exporters = Exporters()
        self._database = Database(settings)
        self._unsent = Unsent(settings)
        self._store = hashlib.sha256(key_of(settings.folder)).hexdigest()[:8]
        """Each machine sends what lies on its own disk, whoever shares the database."""
        self._failing_since: float | None = None
        self._refused: set[str] = set()

    def send(self) -> None:
        """Send what is new; what can't be sent, or read, is said once and comes with the next time."""
        with _alone(self._settings) as alone:
            if not alone:
                return
            try:
                for signal, work in (
                    (TRACES, self._send_spans),
                    (LOGS, self._send_logs),
                    (METRICS, self._send_metrics),
                ):
                    if signal in self._receivers:
                        work(self._receivers[signal])
            except (StoreError, OSError) as error:
                logger.warning("nothing is sent over OTLP, since the store does not answer: %s", error)

    def close(self) -> None:
        """Let go of receivers and database."""
        self._exporters.close()
        self._database.close()

    def _send_spans(self, receiver: str) -> None:
        begun, receiver = time.time(), f"{receiver}:{self._store}"
        since, sent = self._progress(receiver)
        for source in self._unsent.sources(since):
            new = [each for each in self._unsent.records(source) if each.position > sent.get(each.place, -1)]
            for start in range(0, len(new), AT_ONCE):
                part = new[start : start + AT_ONCE]
                if not self._taken([each.record for each in part]):
                    return
                last = {each.place: each.position for each in part}
                self._note(receiver, last)
                sent.update(last)
            self._unsent.done(source)
        self._finish(receiver, begun - LATE_SECONDS)

    def _progress(self, receiver: str) -> tuple[str, dict[str, int]]:
        """The hour from which on there may be something to send, and the last position that was sent of each place."""
        query = "SELECT writer, position FROM exported WHERE receiver = :receiver"
        sent = {str(place): int(position) for place, position in self._database.rows(query, receiver=receiver)}
        return hour_of(sent.pop(ROUND, time.time() - LATE_SECONDS)), sent

    def _finish(self, receiver: str, since: float) -> None:
        """Note that all before an hour was sent, and forget its places."""
        self._note(receiver, {ROUND: int(since)})
        before = {"receiver": receiver, "hour": hour_of(since), "round": ROUND}
        forget = "DELETE FROM exported WHERE receiver = :receiver AND writer < :hour AND writer <> :round"
        self._database.write([(forget, [before])])

    def _note(self, receiver: str, positions: Mapping[str, int]) -> None:
        rows = [
            {"receiver": receiver, "writer": writer, "position": position, "time": time.time()}
            for writer, position in sorted(positions.items())
        ]
        self._database.write([(SENT, rows)])

    def _taken(self, records: list[Record]) -> bool:
        """Whether the receiver took these records, or never will."""
        ours = [record for record in records if record.way != OTLP]  # the others' senders have sent theirs
        if self._said(TRACES, not ours or self._exporters.spans(list(spans(ours)))):
            self._failing_since = None
            return True
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if now - self._failing_since < GIVE_UP_SECONDS:
            return False
        logger.warning("%d requests are not sent, since their receiver takes nothing", len(records))
        self._database.write([(UNDELIVERED, [{"what": "spans", "n": len(records)}])])
        return True

    def _send_logs(self, receiver: str) -> None:
        since = self._since(f"{receiver}:logs")
        now, outbox = time.time(), Outbox(self._database)
        words = words_since(self._database, since)
        outbox.add([Letter(incident, word, receiver) for incident, word in words], now)
        while letter := outbox.claim(receiver, now):
            incident = Incidents(self._database).get(letter.incident)
            if incident is None or self._said(LOGS, self._exporters.logs([log_record(incident, letter.word)])):
                outbox.told(letter)
            else:
                outbox.refused(letter, time.time())
                return

    def _since(self, receiver: str) -> int:
        """Since when a receiver is told: since the first time that there was something to tell."""
        rows = self._database.rows("SELECT position FROM exported WHERE receiver = :receiver", receiver=receiver)
        if rows:
            return int(rows[0][0])
        self._note(receiver, {ROUND: int(time.time())})
        return int(time.time())

    def _send_metrics(self, receiver: str) -> None:
        found = families(self._database)
        start = self._since(f"{receiver}:metrics") * NANO
        self._said(METRICS, self._exporters.metrics(metrics_data(found, start, time.time_ns())))

    def _said(self, signal: str, taken: bool) -> bool:
        """Whether something was taken; where it is the first that was not, that is said."""
        if not taken and signal not in self._refused:
            logger.warning("the receiver of %s takes nothing; %s", signal, WAITING[signal])
        (self._refused.discard if taken else self._refused.add)(signal)
        return taken


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[bool]:
    """Whether no other process sends this store's records at the moment."""
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(settings.folder / LOCK, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        yield _locked(file)
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
