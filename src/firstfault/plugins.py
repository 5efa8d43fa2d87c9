"""What other distributions add: checks, faults, swaps and sinks, found by their entry points when first asked for."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from firstfault.errors import told
from firstfault.interrupts import pass_on

logger = logging.getLogger(__name__)
CHECKS, FAULTS, SWAPS, SINKS = "firstfault.checks", "firstfault.faults", "firstfault.swaps", "firstfault.sinks"
"""The groups of entry points. One of the first three names a module that registers when it is imported."""
OURS = "firstfault"

_asked: set[str] = set()
_importing: list[str] = []
_added: list[tuple[str, Callable[[], object]]] = []
_refused: dict[str, None] = {}


def load(group: str) -> None:
    """Import the modules that the entry points of a group name, once.

    A module that can't be imported adds nothing; that is said in one warning, and kept in `refusals()`.
    """
    if group in _asked:
        return
    _asked.add(group)
    for entry in found(group):
        _import(entry)


def found(group: str) -> list[EntryPoint]:
    """The entry points of a group, in an order that does not depend on how they were installed."""
    return sorted(entry_points(group=group), key=lambda entry: (distribution(entry), entry.name))


def distribution(entry: EntryPoint) -> str:
    """The name and version of what an entry point was installed with."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.module


def owner(module: str) -> str:
    """Whose a module is that registers something: firstfault, the distribution that is imported now, or a package."""
    package = module.partition(".")[0]
    return package if package == OURS or not _importing else _importing[-1]


def added(module: str, take_back: Callable[[], object]) -> None:
    """Keep how something that a module registered is taken back, should its import fail in the end."""
    _added.append((module, take_back))


def refuse(entry: EntryPoint, reason: str) -> None:
    """Say once that something of another distribution is not used, and why."""
    sentence = f"{distribution(entry)} is installed, but its {entry.value} is not loaded: {reason}"
    if sentence not in _refused:
        _refused[sentence] = None
        logger.warning(sentence)


def refusals() -> tuple[str, ...]:
    """What of other distributions was not loaded so far, a sentence each."""
    return tuple(_refused)


def _import(entry: EntryPoint) -> None:
    _importing.append(distribution(entry))
    try:
        importlib.import_module(entry.module)
    except BaseException as error:
        pass_on(error)
        _take_back()
        refuse(entry, told(error))
    finally:
        _importing.pop()


def _take_back() -> None:
    """Drop what modules have registered whose import failed: Python forgets these, and keeps what they had imported."""
    for module, take_back in _added:
        if module not in sys.modules:
            take_back()
    _added[:] = [(module, take_back) for module, take_back in _added if module in sys.modules]
