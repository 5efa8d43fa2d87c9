"""Alerts: whoever is to be told of an incident is told once, by a thread of its own that holds nothing up.

`tell(incident, settings)` is called when an incident was opened, and when it was closed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterable

from firstfault.monitor.database import Database, StoreError
from firstfault.monitor.exporters.incident_figures import LATELY_SECONDS, words_since
from firstfault.monitor.exporters.outbox import Letter, Outbox
from firstfault.monitor.exporters.receivers import PREFECT, Refused, key_of_receiver, send, shown, word_of
from firstfault.monitor.incidents import Incident, Incidents
from firstfault.monitor.settings import Settings
from firstfault.runs.limits import within

logger = logging.getLogger(__name__)
MOST_SECONDS = 15.0
"""For one receiver to take one thing, however slowly it answers."""
CLOSING_SECONDS = 8.0
"""How long a process that ends waits for its receivers; what is left, the next one tells."""


def tell(incident: Incident, settings: Settings) -> None:
    """Have the receivers of `settings.alerts`, and Prefect where it is known, told what has become of an incident.

    It returns at once. Each receiver is told once that an incident was opened, and once that it was closed, however
    often this is called, by however many processes.

    Raises:
        StoreError: when the store's database doesn't answer.
    """
    _teller_of(settings).tell(incident)


def go_on(settings: Settings) -> None:
    """Have told what other processes left untold, and the last hour's incidents that they had no time to note.

    A database that doesn't answer is asked again the next time.
    """
    with contextlib.suppress(StoreError):
        _teller_of(settings).catch_up()


def wait(seconds: float = CLOSING_SECONDS) -> bool:
    """Wait until all receivers were told, or have to be tried again later; whether that came about in time."""
    deadline = time.monotonic() + seconds
    return all(teller.wait(max(0.0, deadline - time.monotonic())) for teller in list(_tellers.values()))


class Teller:
    """What tells the receivers of one store's settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._receivers = {key_of_receiver(name): name for name in (*settings.alerts, PREFECT)}
        self._given: dict[str, Incident] = {}
        self._lock = threading.Lock()
        self._at_work: dict[str, _Round] = {}

    def tell(self, incident: Incident) -> None:
        """Note what has to be told, and begin."""
        self._given[incident.id] = incident
        with contextlib.closing(Database(self._settings)) as database:
            self._add(database, [(incident.id, word_of(incident))])
        self.go_on()

    def catch_up(self) -> None:
        """Note what nobody noted of the last hour, as a process that was killed, and begin."""
        since = time.time() - LATELY_SECONDS
        with contextlib.closing(Database(self._settings)) as database:
            self._add(database, words_since(database, since))
        self.go_on()

    def _add(self, database: Database, words: Iterable[tuple[str, str]]) -> None:
        letters = [Letter(incident, word, receiver) for incident, word in words for receiver in self._receivers]
        Outbox(database).add(letters, time.time())

    def go_on(self) -> None:
        """Have a thread for each receiver, which ends when there is nothing left to tell."""
        with self._lock:
            for receiver, name in self._receivers.items():
                before = self._at_work.get(receiver)
                if before is None or not before.woken():
                    self._at_work[receiver] = _Round(self._settings, receiver, name, self._given)
                    self._at_work[receiver].start()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing has to be told right now."""
        deadline = time.monotonic() + seconds
        return all(each.idle.wait(max(0.0, deadline - time.monotonic())) for each in list(self._at_work.values()))


class _Round(threading.Thread):
    """Tells one receiver what it has to be told, then ends."""

    def __init__(self, settings: Settings, receiver: str, name: str, given: dict[str, Incident]) -> None:
        super().__init__(name="firstfault-alert", daemon=True)
        self._settings, self._receiver, self._address, self._given = settings, receiver, name, given
        self._wake, self._lock, self._over = threading.Event(), threading.Lock(), False
        self.idle = threading.Event()

    def woken(self) -> bool:
        """Have it look again; whether it still does."""
        with self._lock:
            if not self._over:
                self.idle.clear()
                self._wake.set()
            return not self._over

    def run(self) -> None:
        database = Database(self._settings)
        try:
            while True:
                self._wake.clear()
                pause = self._until_next(database)
                if pause is None and self._ended():
                    return
                if pause:
                    self._pause(pause)
        finally:
            self._over = True
            self.idle.set()
            database.close()

    def _ended(self) -> bool:
        """Whether nobody has woken it since it looked: then it is over."""
        with self._lock:
            self._over = not self._wake.is_set()
            return self._over

    def _pause(self, seconds: float) -> None:
        """Wait until something is to be tried again; for those who wait for this process's end, that is late enough."""
        with self._lock:
            if not self._wake.is_set():
                self.idle.set()
        self._wake.wait(seconds)
        self.idle.clear()

    def _until_next(self, database: Database) -> float | None:
        """Tell all that is due; seconds until the next thing is, or None where nothing is left."""
        outbox = Outbox(database)
        try:
            while letter := outbox.claim(self._receiver, time.time()):
                self._tell(outbox, database, letter)
            due = outbox.next_due(self._receiver)
        except StoreError as error:
            logger.warning("%s is told later, since the database does not answer: %s", shown(self._address), error)
            return None
        return None if due is None else max(0.01, due - time.time())

    def _tell(self, outbox: Outbox, database: Database, letter: Letter) -> None:
        incident = Incidents(database).get(letter.incident) or self._given.get(letter.incident)
        if incident is None:  # it was removed before anybody could be told
            outbox.told(letter)
            return
        try:
            within(MOST_SECONDS, lambda: send(self._address, incident, letter.word))
        except Exception as error:  # whatever it is, its text may quote the URL
            reason = error if isinstance(error, Refused | TimeoutError) else type(error).__name__
            then = "is tried again" if outbox.refused(letter, time.time()) else "is given up"
            who = shown(self._address)
            logger.warning("%s was not told of incident %s, and %s: %s", who, incident.id, then, reason)
        else:
            outbox.told(letter)


_tellers: dict[Settings, Teller] = {}


def _teller_of(settings: Settings) -> Teller:
    if settings not in _tellers:
        _tellers[settings] = Teller(settings)
    return _tellers[settings]


atexit.register(wait)
os.register_at_fork(after_in_child=_tellers.clear)
