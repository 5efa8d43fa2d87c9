"""What a debug run or an incident found, into the store of failures: rows, cases of suites, and faults of serving."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.errors import told
from firstfault.interrupts import pass_on

if TYPE_CHECKING:
    from firstfault.behaviour.cases import Case
    from firstfault.behaviour.store.failures import FailureStore
    from firstfault.behaviour.store.record import Failure

logger = logging.getLogger(__name__)


def keep_of_model(folder: Path, home: str, target: str) -> None:
    """Keep the failure cases that a debug run of a target wrote into its folder."""
    import json

    from firstfault.behaviour.store.making import of_model
    from firstfault.checks.safety.evaluate import CASES

    file = folder / CASES
    cases = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    if cases:
        _keep(home, lambda store: [of_model(case, target, store.masked) for case in cases])


def keep_of_incident(case: Case, home: str) -> None:
    """Keep a diagnosed incident; its requests become a test with `firstfault incident keep`."""
    from firstfault.behaviour.store.making import of_incident

    _keep(home, lambda store: [of_incident(case, "", store.masked)])


def _keep(home: str, made: Callable[[FailureStore], Iterable[Failure]]) -> None:
    """A store that can't be written takes nothing from the verdict."""
    from firstfault.behaviour.store.failures import FailureStore

    try:
        store = FailureStore(Path(home))
        for failure in made(store):
            store.add(failure)
        store.close()
    except Exception as error:
        pass_on(error)
        logger.warning("the failures that were found could not be kept: %s", told(error))
