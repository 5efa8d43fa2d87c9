"""The actions by name, as the command line and `--set` give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firstfault.extras import installed
from firstfault.target.validation import checked_actions


def actions_named(given: str | Sequence[Any], field: str, *, mlflow: bool = False) -> list[Any]:
    """The actions of `log,checkpoint` or of a list of names and actions, each name once.

    With `mlflow` checkpoints are logged there too, where it is installed.

    Raises:
        TargetError: for a name that is none of them, or anything that can't act.
    """
    from firstfault.watcher.actions.actions import EVENT, Alert, Checkpoint, Log, Stop

    make = {
        "log": Log,
        "alert": lambda: Alert(event=EVENT),
        "checkpoint": lambda: Checkpoint(mlflow=mlflow and installed("mlflow")),
        "stop": Stop,
    }
    return [make[item]() if isinstance(item, str) else item for item in checked_actions(given, field)]
