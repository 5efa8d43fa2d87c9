"""The state of a flow run that did not pass, with what it found."""

from __future__ import annotations

from typing import Any

from prefect.states import Failed, State


class NotPassed(Exception):
    """What a flow run found that did not pass, in a sentence, with its values in `found`.

    It is an exception because Prefect raises the data of a failed state, and a `TypeError` of its own for any other
    kind: in the log of a worker, and where a flow is called without `return_state`.
    """

    def __init__(self, sentence: str, found: dict[str, Any]) -> None:
        super().__init__(sentence, found)
        self.found = found

    def __str__(self) -> str:
        return str(self.args[0])


def not_passed(name: str, message: str, found: dict[str, Any]) -> State[Any]:
    """A failed state that is named after what was found."""
    return Failed(name=name, message=message, data=NotPassed(f"{name}: {message}" if message else name, found))
