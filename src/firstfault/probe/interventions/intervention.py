"""An intervention changes one thing in a training that runs; this is the registry of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from firstfault.probe.record import Record

MOST_CHANGES = 3
"""Changes of one kind that are told by name; a loop with more optimizers or losses than these is told of by them."""


Setting = float | str | bool


class Done:
    """What an intervention has changed so far, a sentence for each optimizer, loss or module that it met.

    `sets` are the settings that it gave one value throughout, as a user would write them in the call.
    """

    def __init__(self) -> None:
        self.changes: dict[str, str] = {}
        self._values: dict[str, set[Setting]] = {}

    def note(self, change: str, key: str = "") -> None:
        """Keep the first change of a key: the sentence itself, if left out."""
        if len(self.changes) < MOST_CHANGES:
            self.changes.setdefault(key or change, change)

    def set(self, name: str, value: Setting) -> None:
        """Note the value that a setting was given at the construction of something."""
        self._values.setdefault(name, set()).add(value)

    @property
    def sets(self) -> dict[str, Setting]:
        """The settings of which one value alone was noted."""
        return {name: next(iter(values)) for name, values in self._values.items() if len(values) == 1}


@dataclass(frozen=True)
class Intervention:
    """One change. `undoes` names the faults that it repairs, `change` says in words what it does.

    With `on_validation`, what is answered while it learns is no measure of the change: without dropout, any is better.
    `planned` says the same with the numbers of a watched training, such as the rate. With `keeps_loss` off, the values
    of the loss are others by the change alone, so that nothing is to be learnt from comparing them. Without `acquits`,
    a change that gains nothing refutes nothing: it is one of many repairs, or the fault harms other answers than those
    that are scored.
    """

    name: str
    change: str
    undoes: frozenset[str]
    begin: Callable[[Done], AbstractContextManager[None]]
    keeps_loss: bool = True
    on_validation: bool = False
    planned: Callable[[Record], str] | None = None
    acquits: bool = True

    @contextlib.contextmanager
    def install(self) -> Iterator[Done]:
        """Change every training inside the block; what was changed is known at its end."""
        done = Done()
        with self.begin(done):
            yield done

    def announced(self, record: Record) -> str:
        """The change in words, with what is known of a watched training."""
        return (self.planned(record) if self.planned is not None else "") or self.change


REGISTRY: dict[str, Intervention] = {}


def intervention(
    *,
    change: str,
    undoes: tuple[str, ...],
    keeps_loss: bool = True,
    on_validation: bool = False,
    planned: Callable[[Record], str] | None = None,
    name: str = "",
    acquits: bool = True,
) -> Callable[[Callable[[Done], Iterator[None]]], Callable[[Done], Iterator[None]]]:
    """Register a generator `f(done)` that changes something, yields once, and takes the change back."""

    def register(function: Callable[[Done], Iterator[None]]) -> Callable[[Done], Iterator[None]]:
        known = name or function.__name__
        begin = contextlib.contextmanager(function)
        faults = frozenset(undoes)
        REGISTRY[known] = Intervention(known, change, faults, begin, keeps_loss, on_validation, planned, acquits)
        return function

    return register
