"""Delta debugging: the fewest parts of a prompt with which something still holds, each asked often enough."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from firstfault.behaviour.failures.spans import joined, pieces

Part = TypeVar("Part")
OFTEN, OF = 3, 5
"""What holds in 3 of 5 askings is reproduced: one of two would be a coin, five of five never a flaky one."""
STEP_OFTEN, STEP_OF = 2, 3
"""What a flaky failure shows at each step of a reduction; its end is asked 3 of 5 again."""
CALLS = 200
"""Askings of one reduction, all repeats included."""
AT_THE_END = 2 * OF
"""Of them, which are kept for asking what was found, and the step before it."""


class Spent(Exception):
    """No more may be asked."""


@dataclass
class Repeated:
    """Whether something holds of a text: `once` is asked until `often` of `of` are decided, within a budget of calls.

    `once` gives None where nothing can be told; that does not hold, and is counted. What was decided is remembered, and
    with `sure` every answer is, since the same text gets the same one.
    """

    once: Callable[[str], bool | None]
    calls: int = CALLS
    sure: bool = False
    asked: int = 0
    _known: dict[tuple[str, int, int], bool] = field(default_factory=dict, repr=False)
    _told: dict[str, bool] = field(default_factory=dict, repr=False)

    def __call__(self, text: str, often: int = OFTEN, of: int = OF) -> bool:
        """Whether it holds so often.

        Raises:
            Spent: when the budget ends before that is decided.
        """
        key = text, often, of
        if key not in self._known:
            self._known[key] = self._decided(text, often, of)
        return self._known[key]

    def _decided(self, text: str, often: int, of: int) -> bool:
        held = failed = 0
        while held < often and failed <= of - often:
            if self.ask(text):
                held += 1
            else:
                failed += 1
        return held >= often

    def ask(self, text: str) -> bool:
        """Whether it holds this once.

        Raises:
            Spent: when the budget has ended.
        """
        if self.sure and text in self._told:
            return self._told[text]
        if self.asked >= self.calls:
            raise Spent
        self.asked += 1
        self._told[text] = self.once(text) is True
        return self._told[text]

    def count(self, text: str, times: int = OF) -> int:
        """How often it holds in so many askings.

        Raises:
            Spent: when the budget ends before.
        """
        return sum(self.ask(text) for _ in range(times))


def smaller(parts: Sequence[Part], holds: Callable[[list[Part]], bool]) -> Iterator[list[Part]]:
    """Ever fewer parts, in their order, with which something still holds; from the last none can be left out alone.

    Ever shorter runs are left out, from the end (Zeller and Hildebrandt 2002, `ddmin`). Of its subsets none is tried,
    since one half without the other is the same either way. benchmarks/failures.py has shrinkray's and Hypothesis's
    reducers beside it, on the same failures.
    """
    kept, size = list(parts), max(len(parts) // 2, 1)
    while True:
        before, end = len(kept), len(kept)
        while end > 0:
            start = max(end - size, 0)
            fewer = kept[:start] + kept[end:]
            if fewer and holds(fewer):
                kept = fewer
                yield kept
            end = start
        if size == 1 and len(kept) == before:
            return
        size = max(min(size, len(kept)) // 2, 1)


@dataclass(frozen=True)
class Minimal:
    """A prompt with the fewest words that still does what the whole one does, and how often: `held` of `of` askings.

    `whole` is how often the whole one did it, `calls` what it took.
    """

    text: str
    held: int
    of: int
    whole: int
    calls: int

    @property
    def reproduced(self) -> bool:
        """Whether it holds in 3 of 5 askings."""
        return self.held >= OFTEN

    def __str__(self) -> str:
        return f"{len(self.text.split())} words, {self.held} of {self.of} askings, in {self.calls} calls"


def minimal(text: str, holds: Repeated) -> Minimal:
    """The fewest words of a text of which something still holds.

    A text of which it holds in each of five askings is asked once a step, a flaky one 2 of 3. What is found is asked
    3 of 5; where it does not hold, the step before it is, and so on.
    """
    words, began = pieces(text), holds.asked
    try:
        whole = holds.count(text)
    except Spent:
        return Minimal(text, 0, 0, 0, holds.asked - began)
    if whole < OFTEN:
        return Minimal(text, whole, OF, whole, holds.asked - began)
    step = (1, 1) if whole == OF else (STEP_OFTEN, STEP_OF)
    found = [words]
    holds.calls -= AT_THE_END
    with contextlib.suppress(Spent):
        found += smaller(words, lambda kept: holds(joined(kept), *step))
    holds.calls += AT_THE_END
    return _reproduced(text, [joined(each) for each in found], whole, holds, began)


def _reproduced(text: str, found: list[str], whole: int, holds: Repeated, began: int) -> Minimal:
    """The smallest of what was found that is reproduced; the whole where none is."""
    for each in reversed(found[1:]):
        try:
            held = holds.count(each)
        except Spent:
            break
        if held >= OFTEN:
            return Minimal(each, held, OF, whole, holds.asked - began)
    return Minimal(text, whole, OF, whole, holds.asked - began)
