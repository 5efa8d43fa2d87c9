"""Asking a model for an answer, within a budget; what is no text is told as what it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from firstfault.errors import Missing, told
from firstfault.interrupts import pass_on

Generate = Callable[[str], object]
RAISED = "generate raised"
SPENT = "the budget is spent"


@dataclass(frozen=True)
class Answer:
    """A text, or why there is none; `raised` where the model's own code failed, which is no pass."""

    text: str | None
    problem: str = ""
    raised: bool = False


@dataclass
class Budget:
    """How many requests and tokens of answers may be spent; what is asked for beyond it is left unscored."""

    requests: int | None = None
    tokens: int | None = None
    asked: int = 0
    answered: int = 0

    @property
    def spent(self) -> bool:
        """Whether nothing more may be asked."""
        return (self.requests is not None and self.asked >= self.requests) or (
            self.tokens is not None and self.answered >= self.tokens
        )


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
        """The answer to a prompt.

        Raises:
            Missing: as `generate` raises it, where there is no model to ask.
        """
        if self.budget.spent:
            return Answer(None, SPENT)
        self.budget.asked += 1
        try:
            answer = text_of(self.generate(prompt))
        except Missing:
            raise
        except BaseException as error:
            pass_on(error)
            return Answer(None, f"{RAISED}: {self._told(error)}", raised=True)
        self.budget.answered += self._count(answer.text) if answer.text else 0
        return answer


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
