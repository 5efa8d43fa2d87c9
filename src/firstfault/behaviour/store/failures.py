"""Where failures are kept: one file of SQLite with each text once, by its digest, and who passed or failed it when.

.firstfault/failures/
├── failures.db    failures, texts, replays
└── key            of the pseudonyms that stand for personal values
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from firstfault.behaviour.store.record import TEXTS, Failure, Kind, Standing
from firstfault.data.privacy.keyed import KeyedMask, key_of
from firstfault.errors import FirstfaultError
from firstfault.lm.identity import digest
from firstfault.output.sqlite import Sqlite

FOLDER, FILE = "failures", "failures.db"
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS failures (id TEXT PRIMARY KEY, kind TEXT, standing TEXT, target TEXT, "
    "last_seen DOUBLE PRECISION, document TEXT)",
    "CREATE TABLE IF NOT EXISTS texts (digest TEXT PRIMARY KEY, text TEXT)",
    "CREATE TABLE IF NOT EXISTS replays (failure TEXT, version TEXT, time DOUBLE PRECISION, failed BIGINT, "
    "passed BIGINT, PRIMARY KEY (failure, version))",
)
PUT = """INSERT INTO failures (id, kind, standing, target, last_seen, document)
    VALUES (:id, :kind, :standing, :target, :last_seen, :document)
    ON CONFLICT (id) DO UPDATE SET standing = excluded.standing, target = excluded.target,
        last_seen = excluded.last_seen, document = excluded.document"""
SAY = "INSERT INTO texts (digest, text) VALUES (:digest, :text) ON CONFLICT (digest) DO NOTHING"
NOTE = """INSERT INTO replays (failure, version, time, failed, passed)
    VALUES (:failure, :version, :time, :failed, :passed)
    ON CONFLICT (failure, version) DO UPDATE SET time = excluded.time, failed = excluded.failed,
        passed = excluded.passed"""
SHORTEST_ID = 4
"""Letters of an id that may stand for the whole."""


class Added(NamedTuple):
    """What became of a failure that was handed in: as it is kept now, whether it is new, and whether it came back."""

    failure: Failure
    new: bool
    came_back: bool


class FailureStore:
    """The failures of one state folder."""

    def __init__(self, home: Path) -> None:
        self.folder = home / FOLDER
        self.mask = KeyedMask(key_of(self.folder))
        try:
            self._file = Sqlite(self.folder / FILE)
            self._file.write([(statement, [{}]) for statement in SCHEMA])
        except Exception as error:  # a file that is none of SQLite, or can't be written
            raise FirstfaultError(
                f"{self.folder / FILE} must be the store of failures, but can't be opened: {error}"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def add(self, failure: Failure) -> Added:
        """Keep a failure, or count one that is kept; one that was fixed has come back.

        An incident happens once: told again, it is not seen again.
        """
        with self._file.transaction():
            return self._added(failure, self.get(failure.id), time.time())

    def _added(self, failure: Failure, known: Failure | None, now: float) -> Added:
        if known is None:
            kept = msgspec.structs.replace(failure, first_seen=now, last_seen=now)
            self._put(kept)
            return Added(kept, True, False)
        once_more = failure.kind is not Kind.INCIDENT
        back = once_more and known.standing is Standing.FIXED
        standing = Standing.BACK if back else known.standing
        if known.standing is Standing.CANDIDATE:
            standing = failure.standing
        kept = msgspec.structs.replace(
            failure,
            standing=standing,
            label=known.label,
            folder=failure.folder or known.folder,
            seen=known.seen + once_more,
            first_seen=known.first_seen,
            last_seen=now,
        )
        self._put(kept)
        return Added(kept, False, back)

    def change(self, failure: Failure, **values: Any) -> Failure:
        """Keep a failure with other values."""
        kept = msgspec.structs.replace(failure, **values)
        self._put(kept)
        return kept

    def _put(self, failure: Failure) -> None:
        document = msgspec.to_builtins(failure)
        texts = [{"digest": digest(document[name]), "text": document[name]} for name in TEXTS if document.get(name)]
        kept = {name: digest(value) if name in TEXTS and value else value for name, value in document.items()}
        row = {
            "id": failure.id,
            "kind": failure.kind.value,
            "standing": failure.standing.value,
            "target": failure.target,
            "last_seen": failure.last_seen,
            "document": msgspec.json.encode(kept).decode(),
        }
        self._file.write([(SAY, texts), (PUT, [row])])

    def get(self, id_: str) -> Failure | None:
        """The failure of an id; None where there is none."""
        found = self._where("id = :id", id=id_)
        return found[0] if found else None

    def find(self, begin: str) -> Failure:
        """The failure whose id begins so.

        Raises:
            FirstfaultError: when none does, or several do.
        """
        found = [each for each in self.all() if each.id.startswith(begin)] if len(begin) >= SHORTEST_ID else []
        if len(found) != 1:
            many = "several begin" if found else "none begins"
            raise FirstfaultError(
                f"ID must be that of a failure, as `firstfault cases list` shows it, but {many} with {begin!r}"
            )
        return found[0]

    def all(self, kind: Kind | None = None, standing: Standing | None = None) -> list[Failure]:
        """The failures, those last seen first."""
        found = self._where("1 = 1")
        return [
            each
            for each in found
            if (kind is None or each.kind is kind) and (standing is None or each.standing is standing)
        ]

    def _where(self, condition: str, **values: Any) -> list[Failure]:
        rows = self._file.rows(f"SELECT document FROM failures WHERE {condition} ORDER BY last_seen DESC, id", values)
        documents = [msgspec.json.decode(row[0]) for row in rows]
        wanted = {document[name] for document in documents for name in TEXTS if document.get(name)}
        texts = {each: self._text(each) for each in wanted}
        whole = (
            {name: texts.get(value, value) if name in TEXTS else value for name, value in each.items()}
            for each in documents
        )
        return [msgspec.convert(each, Failure) for each in whole]

    def _text(self, key: str) -> str:
        found = self._file.rows("SELECT text FROM texts WHERE digest = :digest", {"digest": key})
        return str(found[0][0]) if found else ""

    def note(self, failure: Failure, version: str, failed: int, passed: int) -> None:
        """Remember how often a version failed and passed a failure."""
        row = {"failure": failure.id, "version": version, "time": time.time(), "failed": failed, "passed": passed}
        self._file.write([(NOTE, [row])])

    def asked_last(self, failure: Failure) -> str:
        """The version that a failure was asked of last; the one that it was found in, where it was asked of none."""
        last = "SELECT version FROM replays WHERE failure = :id ORDER BY time DESC LIMIT 1"
        found = self._file.rows(last, {"id": failure.id})
        return str(found[0][0]) if found else failure.version

    def masked(self, value: str) -> str:
        """A text as it may be kept."""
        return self.mask.text(value)


Mask = Callable[[str], str]
"""What masks a text before it is kept."""
