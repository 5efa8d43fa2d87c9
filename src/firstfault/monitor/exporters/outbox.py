"""What receivers have to be told, in the store's database: each thing once, whoever tells it, and whatever is killed.

A row is claimed before it is told, for a time; who claimed it and was killed is followed by another after that time.
"""

from __future__ import annotations

from secrets import token_hex
from typing import NamedTuple

from firstfault.monitor.database import Database

WAITS, TOLD, GIVEN_UP = "waits", "told", "given up"
OTLP = "otlp:"
"""A receiver of log records is called so."""
LEASE_SECONDS = 60.0
PAUSES = (2.0, 10.0, 60.0, 300.0)
"""Seconds before each further try; after the last one, the receiver is given up for this."""
ADD = """INSERT INTO alerts (incident, word, receiver, tries, due, claim, state)
    VALUES (:incident, :word, :receiver, 0, :due, '', 'waits')
    ON CONFLICT (incident, word, receiver) DO NOTHING"""
CLAIM = """UPDATE alerts SET claim = :claim, due = :until, tries = tries + 1
    WHERE incident = :incident AND word = :word AND receiver = :receiver AND state = 'waits' AND due <= :now"""
SETTLE = """UPDATE alerts SET state = :state, due = :due
    WHERE incident = :incident AND word = :word AND receiver = :receiver AND claim = :claim"""
UNDELIVERED = """INSERT INTO undelivered (what, n) VALUES (:what, :n)
    ON CONFLICT (what) DO UPDATE SET n = undelivered.n + excluded.n"""


class Letter(NamedTuple):
    """One thing that one receiver has to be told."""

    incident: str
    word: str
    receiver: str
    tries: int = 0
    claim: str = ""


class Outbox:
    """The rows of one store's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, letters: list[Letter], now: float) -> None:
        """Note what has to be told; what was noted before, told or not, stays as it is.

        Raises:
            StoreError: as the other methods do, when the database doesn't answer.
        """
        rows = [{**_place(letter), "due": now} for letter in sorted(letters)]
        self._database.write([(ADD, rows)])

    def claim(self, receiver: str, now: float) -> Letter | None:
        """The oldest that a receiver has to be told now, and that nobody else tells it; None where there is none."""
        query = """SELECT incident, word, tries FROM alerts
            WHERE receiver = :receiver AND state = 'waits' AND due <= :now ORDER BY due, incident, word DESC"""
        for incident, word, tries in self._database.rows(query, receiver=receiver, now=now):
            letter = Letter(str(incident), str(word), receiver, int(tries) + 1, token_hex(8))
            claim = {**_place(letter), "claim": letter.claim, "until": now + LEASE_SECONDS, "now": now}
            self._database.write([(CLAIM, [claim])])
            if self._claimed(letter):
                return letter
        return None

    def _claimed(self, letter: Letter) -> bool:
        query = """SELECT claim FROM alerts
            WHERE incident = :incident AND word = :word AND receiver = :receiver"""
        return self._database.rows(query, **_place(letter)) == [(letter.claim,)]

    def told(self, letter: Letter) -> None:
        """Note that a receiver took it."""
        self._settle(letter, TOLD, 0.0)

    def refused(self, letter: Letter, now: float) -> bool:
        """Note that a receiver didn't take it; whether it is tried again."""
        again = letter.tries <= len(PAUSES)
        if again:
            self._settle(letter, WAITS, now + PAUSES[letter.tries - 1])
        else:
            self._settle(letter, GIVEN_UP, 0.0)
            what = "logs" if letter.receiver.startswith(OTLP) else "alerts"
            self._database.write([(UNDELIVERED, [{"what": what, "n": 1}])])
        return again

    def _settle(self, letter: Letter, state: str, due: float) -> None:
        row = {**_place(letter), "claim": letter.claim, "state": state, "due": due}
        self._database.write([(SETTLE, [row])])

    def next_due(self, receiver: str) -> float | None:
        """When a receiver has to be told the next thing; None where there is none."""
        query = "SELECT MIN(due) FROM alerts WHERE receiver = :receiver AND state = 'waits'"
        ((due,),) = self._database.rows(query, receiver=receiver)
        return None if due is None else float(due)


def _place(letter: Letter) -> dict[str, str]:
    return {"incident": letter.incident, "word": letter.word, "receiver": letter.receiver}
