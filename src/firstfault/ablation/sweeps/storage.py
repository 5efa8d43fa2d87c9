"""Where sweeps keep their studies: a journal in the state folder, or a database that several machines share."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from firstfault.errors import FirstfaultError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.storages.journal import JournalFileSymlinkLock

STORAGE = "FIRSTFAULT_OPTUNA_STORAGE"
Place: TypeAlias = "Path | str | BaseStorage | None"
"""Where studies are kept: the path of a journal file, an Optuna storage or its URL."""


def usual_place(journal: Path) -> Place:
    """`FIRSTFAULT_OPTUNA_STORAGE`, for a database that several machines share; else the journal of the state folder."""
    return os.environ.get(STORAGE) or journal


_opened: dict[Path, tuple[int, BaseStorage]] = {}


def opened(place: Place) -> BaseStorage | str | None:
    """What Optuna takes as a storage; a journal is opened once per process."""
    if not isinstance(place, Path):
        return place
    known = _opened.get(place)
    if known is None or known[0] != os.getpid() or not place.exists():
        _opened[place] = (os.getpid(), _journal(place))
    return _opened[place][1]


def be_quiet() -> None:
    """Keep what Optuna logs of its own doings off the terminal."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@contextmanager
def failing_in_a_sentence(place: Place) -> Iterator[None]:
    """Say in one sentence that a storage doesn't work."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        yield
    except (OSError, ImportError, SQLAlchemyError, StorageInternalError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        if isinstance(error, ArgumentError):
            reason = "it is no database URL"
        raise FirstfaultError(f"the sweep's storage {_shown(place)} must be writable, but: {_shown(reason)}") from error
    except (JSONDecodeError, KeyError) as error:
        raise FirstfaultError(
            f"the sweep's storage {_shown(place)} must be a journal of Optuna, but a line of it is broken; "
            "move it away, and a new one is begun"
        ) from error


def _shown(place: object) -> str:
    """A place without the password of a URL in it."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", str(place))


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(path))
    _mend(path, lock)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _mend(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Drop a last line that a killed process or a full disk left half written: Optuna can't read past it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    finally:
        lock.release()
