"""What a model is meant to do: an intent, clauses with examples, and scenarios that put them to the test.

Specification ── intent, opposite
├─ must, must_not, may   Clause    severity, category, examples right and wrong, the scorer that sees it done
├─ personas              Persona   how somebody puts a question
├─ tools                 Tool      what a call of it gives
└─ scenarios             Scenario  a prompt with variables and paraphrases, and the clauses that it tests
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from firstfault.behaviour.scorers import Scorer
from firstfault.behaviour.variables import filled

WHOLE = {"plain": "{prompt}"}
"""The persona where a specification names none: who asks, and nothing more."""


class Duty(StrEnum):
    """What a clause says of a behaviour."""

    MUST = "must"
    MUST_NOT = "must_not"
    MAY = "may"


@dataclass(frozen=True)
class Clause:
    """One behaviour that is asked for, forbidden or allowed; `scorer` tells whether an answer shows it.

    `right` and `wrong` are answers that keep it and break it; `severity`, 0–1, is how bad it is to break it.
    """

    id: str
    duty: Duty
    says: str
    scorer: Scorer
    expect: str = ""
    severity: float = 1.0
    category: str = "general"
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    def shown(self, answer: str, prompt: str, given: Mapping[str, str]) -> bool | None:
        """Whether an answer does what the clause speaks of; None where the scorer can't tell."""
        return self.scorer(answer, filled(self.expect, given), prompt)

    def kept(self, answer: str, prompt: str, given: Mapping[str, str]) -> bool | None:
        """Whether an answer keeps the clause; one that may be kept always is."""
        if self.duty is Duty.MAY:
            return True
        shown = self.shown(answer, prompt, given)
        return shown if shown is None or self.duty is Duty.MUST else not shown


@dataclass(frozen=True)
class Tool:
    """A stub: what is told of it, and what a call gives, with the call's arguments in braces."""

    name: str
    says: str
    returns: str


@dataclass(frozen=True)
class Cell:
    """A scenario in one wording, with one value for each variable, as one persona asks it."""

    scenario: str
    persona: str
    wording: int
    given: Mapping[str, str]
    asked: str

    @property
    def id(self) -> str:
        """What tells it apart within its scenario."""
        values = [f"{name} {value}" for name, value in self.given.items()]
        return ", ".join([self.persona, f"wording {self.wording + 1}", *values])


@dataclass(frozen=True)
class Scenario:
    """A situation: what is asked, by whom, with which tools, and the clauses that it puts to the test."""

    id: str
    prompt: str
    clauses: tuple[Clause, ...]
    paraphrases: tuple[str, ...] = ()
    vary: Mapping[str, tuple[str, ...]] | None = None
    personas: Mapping[str, str] | None = None
    tools: tuple[Tool, ...] = ()

    @property
    def wordings(self) -> tuple[str, ...]:
        """The prompt, then its paraphrases."""
        return (self.prompt, *self.paraphrases)

    @property
    def judged(self) -> tuple[Clause, ...]:
        """The clauses that can be broken."""
        return tuple(clause for clause in self.clauses if clause.duty is not Duty.MAY)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every wording with every value, by every persona."""
        return tuple(self._cells())

    def _cells(self) -> Iterator[Cell]:
        names = list(self.vary or {})
        for values in itertools.product(*(self.vary or {}).values()):
            given = dict(zip(names, values, strict=True))
            for persona, says in (self.personas or WHOLE).items():
                for place, wording in enumerate(self.wordings):
                    asked = says.replace("{prompt}", filled(wording, given))
                    yield Cell(self.id, persona, place, given, asked)

    @property
    def given(self) -> Mapping[str, str]:
        """The first value of each variable, with which the examples are read."""
        return {name: values[0] for name, values in (self.vary or {}).items()}


@dataclass(frozen=True)
class Specification:
    """What a model is meant to do, and the scenarios that show it. `opposite` is a suite that must be passed too."""

    name: str
    intent: str
    clauses: tuple[Clause, ...]
    scenarios: tuple[Scenario, ...]
    opposite: str
    runs: int = 1
    root: Path = Path()
