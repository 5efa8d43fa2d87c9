"""The actions by name, as the command line and `--set` give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firstfault.errors import TargetError
from firstfault.extras import installed

NAMES = ("log", "alert", "checkpoint", "stop")


def actions_named(given: str | Sequence[Any], field: str, *, mlflow: bool = False) -> list[Any]:
    """The actions of `log,checkpoint` or of a list of names and actions, each name once; with `mlflow` checkpoints are logged there too, where it is installed.

    Raises:
        TargetError: for a name that is none of them, or anything that can't act.
    """
    from firstfault.acting.actions import EVENT, Alert, Checkpoint, Log, Stop

    make = {"log": Log, "alert": lambda: Alert(event=EVENT), "checkpoint": lambda: Checkpoint(mlflow=mlflow and installed("mlflow")), "stop": Stop}
    return [make[item]() if isinstance(item, str) else item for item in checked_actions(given, field)]


def checked_actions(given: str | Sequence[Any], field: str) -> list[Any]:
    """The names and actions of a text or a list, each name once.

    Raises:
        TargetError: for a name that is none of them, or anything that can't act.
    """
    items = [part.strip() for part in given.split(",")] if isinstance(given, str) else given
    if not isinstance(items, list | tuple):
        raise TargetError(f"{field} must be some of {', '.join(NAMES)}, or actions, but got {items!r}")
    for item in items:
        if item not in NAMES if isinstance(item, str) else not callable(getattr(item, "act", None)):
            raise TargetError(f"{field} must be some of {', '.join(NAMES)}, or actions, but got {item!r}")
    names = [item for item in items if isinstance(item, str)]
    return [item for place, item in enumerate(items) if not isinstance(item, str) or items.index(item) == place] if names else list(items)
