"""The rules that are looked at while a training runs: the checks that need nothing but its record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firstfault.check import Check, checks_of, run_check
from firstfault.errors import Missing
from firstfault.finding import Finding, Layer, Status
from firstfault.place import Place
from firstfault.probe.record import Record
from firstfault.standing import PROOF, STANDS
from firstfault.watcher.actions.no_progress import NO_PROGRESS

FIRST, SHARE, FARTHEST = 50, 0.25, 1_000
"""Steps to the next look: a quarter of those that were made, 50 at least and 1,000 at most."""
OF_THE_END = frozenset(
    {
        "similar_across_runs",
        "stopped_early",
        "safety_in_training",
        "stopped_by_action",
        "watched_in_full",
        "parameters_not_in_optimizer",
    }
)
"""They judge how a training ended, or what was done about it."""


class Rules:
    """Says what failed in a training so far, each (check, faults, place) once.

    The rules are looked at after 50 steps, then whenever the steps have grown by a quarter, at least every 1,000 steps,
    and at once when a value is not finite. One look takes 2–5 ms for a small network, and grows with the number of its
    parameter tensors, not with the steps. `sound` is whether the last look found nothing. A failure counts when two
    looks in a row have it; one that is proof counts at once, and so does a value that is not finite.
    """

    def __init__(self, name: str, folder: Path, root: Path) -> None:
        self._name, self._folder, self._root = name, folder, root
        self._next = FIRST
        self._told: set[tuple[str, tuple[str, ...], Place | None]] = set()
        self._before: set[str] = set()
        self._tripped = False
        self.sound = True
        self._entries = rules_of_the_record()

    def due(self, record: Record) -> bool:
        """Whether it is time for a look."""
        tripped = record.first_nonfinite is not None
        return record.steps >= self._next or (tripped and not self._tripped)

    def look(self, record: Record) -> list[Finding]:
        """What failed, and was not told before."""
        self._next = record.steps + int(min(max(FIRST, SHARE * record.steps), FARTHEST))
        self._tripped = record.first_nonfinite is not None
        failed = list(self._failed(record))
        settled = [found for found in failed if self._certain(found) or found.check in self._before]
        self._before = {found.check for found in failed}
        self.sound = not failed
        new = [found for found in settled if (found.check, tuple(found.faults), found.where) not in self._told]
        self._told |= {(found.check, tuple(found.faults), found.where) for found in new}
        return new

    def _certain(self, found: Finding) -> bool:
        return found.check == "nonfinite_loss" or max(found.faults.values(), default=0.0) >= PROOF

    def _failed(self, record: Record) -> Iterator[Finding]:
        subject = self._subject(record)
        for entry in self._entries:
            for found in run_check(entry, subject, {}):
                if found.status is Status.FAIL and max(found.faults.values(), default=0.0) >= STANDS:
                    yield found

    def _subject(self, record: Record) -> Any:
        from firstfault.subject.subject import Subject
        from firstfault.target.declaration import Target, Training

        subject = Subject(Target(self._name, training=Training(), root=self._root), self._folder)
        running = Missing("the training still runs")
        subject.supply(Subject.record, record)
        subject.supply(Subject.recipe_and_classes, running)
        subject.supply(Subject.trained, running)
        return subject


def rules_of_the_record() -> list[Check]:
    """The checks of a training that need nothing but its record, and can be asked before its end.

    And that of no progress.
    """
    return [
        *(entry for entry in checks_of(Layer.TRAINING) if entry.needs == {"record"} and entry.name not in OF_THE_END),
        NO_PROGRESS,
    ]
