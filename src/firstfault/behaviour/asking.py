"""Asking a model for an answer, within a budget; what is no text is told as what it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from firstfault.errors import Missing, first_line, told
from firstfault.interrupts import is_interrupt, pass_on
from firstfault.lm.http_json import EndpointError, Spent

T = TypeVar("T")
Generate = Callable[[str], object]
RAISED = "generate raised"


@dataclass(frozen=True)
class Answer:
    """A text, or why there is none.

    `raised` where the model's own code failed, which is no pass; `unasked` where the budget left it out.
    """

    text: str | None
    problem: str = ""
    raised: bool = False
    unasked: bool = False

    def judged(self, score: Callable[[str], bool | None]) -> bool | None:
        """What a scorer says of it; what failed is no pass, and of what is not there nothing is known."""
        if self.text is None:
            return False if self.raised else None
        return score(self.text)


@dataclass
class Budget:
    """How many requests and tokens of answers may be spent; what is asked for beyond it is left unscored.

    With `outlives_interrupt` a Ctrl-C spends it, and does not end what is done with the answers that are there.
    """

    requests: int | None = None
    tokens: int | None = None
    asked: int = 0
    answered: int = 0
    outlives_interrupt: bool = False
    interrupted: bool = False

    @property
    def spent(self) -> str:
        """Why nothing more may be asked; empty as long as something may."""
        if self.interrupted:
            return "it was interrupted"
        return "the budget is spent" if self._is_used_up else ""

    @property
    def _is_used_up(self) -> bool:
        return (self.requests is not None and self.asked >= self.requests) or (
            self.tokens is not None and self.answered >= self.tokens
        )

    def pass_on(self, error: BaseException) -> None:
        """Raise what is no failure of the user's code, but for a Ctrl-C that it outlives."""
        if self.outlives_interrupt and is_interrupt(error):
            self.interrupted = True
        else:
            pass_on(error)

    def unless_interrupted(self, work: Callable[[], T], otherwise: T) -> T:
        """What comes of some work; something else where a Ctrl-C ends it that the budget outlives."""
        try:
            return work()
        except KeyboardInterrupt as error:
            self.pass_on(error)
            return otherwise


def words_of(text: str) -> int:
    """How many words a text has: the count of tokens where no tokenizer is known."""
    return len(text.split())


class Asker:
    """Asks `generate`, counts what was asked, and takes None, NaN, bytes that are no UTF-8 and the like for no answer.

    `count` counts the tokens of an answer: its words, unless a tokenizer is known. `told_as` tells an exception.
    """

    def __init__(
        self,
        generate: Generate,
        budget: Budget | None = None,
        *,
        count: Callable[[str], int] = words_of,
        told_as: Callable[[BaseException], str] = told,
    ) -> None:
        self.generate, self.budget = generate, budget or Budget()
        self._count, self._told = count, told_as

    def __call__(self, prompt: str) -> Answer:
        """The answer to a prompt."""
        if why := self.budget.spent:
            return Answer(None, why, unasked=True)
        self.budget.asked += 1
        try:
            answer = text_of(self.generate(prompt))
        except Spent as error:
            return Answer(None, first_line(error), unasked=True)
        except (Missing, EndpointError) as error:  # no model, or a server that is not there: it did not misbehave
            return Answer(None, first_line(error))
        except BaseException as error:
            self.budget.pass_on(error)
            if self.budget.interrupted:
                return Answer(None, self.budget.spent, unasked=True)
            return Answer(None, f"{RAISED}: {self._told(error)}", raised=True)
        self.budget.answered += self._count(answer.text) if answer.text else 0
        return answer

    def scored(self, prompt: str, score: Callable[[str], bool | None]) -> tuple[Answer, bool | None]:
        """The answer to a prompt, and what a scorer says of it."""
        answer = self(prompt)
        return answer, self.budget.unless_interrupted(lambda: answer.judged(score), None)


def text_of(value: object) -> Answer:
    """What a model gave, as a text; numbers are their digits, and NaN is nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Answer(None, f"no text was answered, but {value}")
    if isinstance(value, bytes):
        try:
            return Answer(value.decode())
        except UnicodeDecodeError:
            return Answer(None, "the answer's bytes are no UTF-8")
    try:
        return Answer(str(value))
    except BaseException as error:
        pass_on(error)
        return Answer(None, f"the answer is no text: {told(error)}")
