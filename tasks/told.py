"""A run that another process carries out, told step by step: what the steps of a flow run wait for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from firstfault import progress
from firstfault.finding import Layer
from firstfault.recording.steps import Ended, Examined, Opened, Steps, Swept
from firstfault.verdict import Outcome

Word = dict[str, Any]
"""What the process that does the work says: its `kind`, and the values of that kind."""


class Abandoned(Exception):
    """The run that was told of ended without a verdict."""


class Interrupted(Abandoned):
    """The run that was told of was interrupted."""


class Told:
    """The words of the process that does the work, one line of JSON each."""

    def __init__(self, lines: Iterable[str], announce: Callable[[str, str | None], None]) -> None:
        self._lines, self._steps, self.announce = iter(lines), Steps(), announce

    def debugged(self, steps: Steps) -> Ended:
        """Carry out the steps of a debug run that are told, each as long as it is told of; how it ended."""
        ended = self._followed(steps)
        assert isinstance(ended, Ended)
        return ended

    def swept(self, steps: Steps) -> Swept:
        """Carry out the steps of a sweep that are told, each as long as it is told of; how it ended."""
        swept = self._followed(steps)
        assert isinstance(swept, Swept)
        return swept

    def _followed(self, steps: Steps) -> object:
        """What the last of the steps gave."""
        self._steps = steps
        if steps.flow_run is not None:
            self.announce(steps.flow_run.id, steps.flow_run.url)
        given = None
        for word in self._words():
            given = self._step(word, steps)
            if word["kind"] in ("conclude", "sweep"):
                return given
        raise Interrupted("its process ended without a word")

    def _step(self, word: Word, steps: Steps) -> object:
        match word["kind"]:
            case "open":
                return steps.open(lambda: Opened(**self._until("opened")))
            case "examine":
                return steps.examine(Layer(word["layer"]), self._examined)
            case "confirm":
                return steps.confirm(
                    Layer(word["layer"]),
                    lambda: [Outcome.from_json(each) for each in self._until("confirmed")["outcomes"]],
                )
            case "sweep":
                return steps.sweep(lambda: Swept(**self._until("swept")))
            case "conclude":
                return steps.conclude(lambda: Ended.from_json(self._until("concluded")["ended"]))
        return None

    def _examined(self) -> Examined | None:
        examined = self._until("examined")["examined"]
        return Examined.from_json(examined) if examined is not None else None

    def _until(self, kind: str) -> Word:
        for word in self._words():
            if word.pop("kind") == kind:
                return word
        raise Interrupted("its process ended without a word")

    def _words(self) -> Iterator[Word]:
        """The words that are steps; what is said between them is passed on."""
        for line in self._lines:
            word = json.loads(line)
            if word["kind"] == "progress":
                progress.emit(progress.Step(Layer(word["layer"]), word["text"], word["share"]))
            elif word["kind"] == "say":
                self._steps.say(word["text"])
            elif word["kind"] == "abandoned":
                raise (Interrupted if word["killed"] else Abandoned)(word["text"])
            else:
                yield word


TOLD: ContextVar[Told | None] = ContextVar("told", default=None)
"""The run that this process is told of; None where the flow itself does the work."""
