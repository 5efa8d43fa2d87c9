"""Passing cases that are like a failing one, and the smallest edit with which it passes."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from firstfault.behaviour.evaluation import CaseRun, Outcome
from firstfault.behaviour.failures.reduction import OF, OFTEN, Minimal, Repeated, Spent, smaller
from firstfault.behaviour.failures.spans import joined, pieces
from firstfault.behaviour.suites import Case

MOST_TWINS = 3
"""Passing cases that are shown, and whose words are tried."""
ALIKE = 0.3
"""Of the words in their order, which a twin shares: below, an edit into it is another prompt."""
SAME_TEMPLATE = 1.0
"""What a common template adds to it: such a case is a twin by design."""


@dataclass(frozen=True)
class Twin:
    """A passing case, and the share of words in their order that it has in common with the failing one."""

    case: Case
    likeness: float


@dataclass(frozen=True)
class Hunk:
    """One difference of two texts: the words `old` from place `at` on become `new`."""

    at: int
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many words it touches."""
        return max(len(self.old), len(self.new))

    def __str__(self) -> str:
        old, new = " ".join(self.old), " ".join(self.new)
        return f"{old!r} → {new!r}" if old and new else f"without {old!r}" if old else f"with {new!r}"


@dataclass(frozen=True)
class Edit:
    """A change of a failing prompt with which it passes, in `held` of `of` askings; `like` is the twin it is of."""

    text: str
    hunks: tuple[Hunk, ...]
    held: int
    of: int
    like: str = ""

    @property
    def size(self) -> int:
        """How many words it touches."""
        return sum(hunk.size for hunk in self.hunks)

    def __str__(self) -> str:
        changed = ", ".join(map(str, self.hunks))
        source = f", as {self.like} has it" if self.like else ""
        return f"it passes {changed}{source} ({self.held} of {self.of} askings)"


def twins_of(failing: CaseRun, runs: Sequence[CaseRun], most: int = MOST_TWINS) -> tuple[Twin, ...]:
    """The passing cases of the same scorer that are most like a failing one, those of its template first."""
    words = failing.case.asked.split()
    found = []
    for run in runs:
        if run.outcome is Outcome.PASS and run.case.scorer == failing.case.scorer and run.case is not failing.case:
            like = difflib.SequenceMatcher(None, words, run.case.asked.split(), autojunk=False).ratio()
            same = bool(failing.case.template) and run.case.template == failing.case.template
            found.append((like + SAME_TEMPLATE * same, Twin(run.case, round(like, 2))))
    found.sort(key=lambda each: -each[0])
    return tuple(twin for rank, twin in found[:most] if rank >= ALIKE)


def hunks_of(old: Sequence[str], new: Sequence[str]) -> list[Hunk]:
    """The differences of two lists of pieces, whatever blanks stand between them."""
    old, new = ([piece.strip() for piece in side] for side in (old, new))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [Hunk(a, tuple(old[a:b]), tuple(new[c:d])) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]


def applied(parts: Sequence[str], hunks: Collection[Hunk]) -> str:
    """The text in which some differences are made."""
    changed: list[str] = []
    at = 0
    for hunk in sorted(hunks, key=lambda each: each.at):
        changed += [*parts[at : hunk.at], *(f"{word} " for word in hunk.new)]
        at = hunk.at + len(hunk.old)
    return joined([*changed, *parts[at:]])


def smallest_edit(failing: Case, smallest: Minimal, twins: Sequence[Twin], passes: Repeated) -> Edit | None:
    """The edit of fewest words with which a failing prompt passes: words left out, or words of a passing twin.

    Of the words that the failure needs as few as possible are left out; of the differences from each twin as few as
    possible are made. A twin that expects another answer is no source of words. Each step is asked 3 of 5.
    """
    parts = pieces(failing.asked)
    found = [_fewest(parts, _leaving_out(parts, smallest.text.split()), passes)]
    for twin in twins:
        if twin.case.wanted == failing.wanted and (found[0] is None or found[0].size > 1):
            found.append(_fewest(parts, hunks_of(parts, pieces(twin.case.asked)), passes, twin.case.id))
    return min((each for each in found if each is not None), key=lambda each: each.size, default=None)


def _leaving_out(parts: Sequence[str], needed: Sequence[str]) -> list[Hunk]:
    """A difference for each word that the failure needs, in their order in the prompt."""
    left, found = list(needed), []
    for place, word in enumerate(map(str.strip, parts)):
        if left and word == left[0]:
            left.pop(0)
            found.append(Hunk(place, (word,), ()))
    return found if len(needed) < len(parts) else []


def _fewest(parts: Sequence[str], hunks: Sequence[Hunk], passes: Repeated, like: str = "") -> Edit | None:
    """The fewest of some differences with which it passes; None where it does not with all of them."""
    best: list[Hunk] = []
    with contextlib.suppress(Spent):
        if not hunks or not passes(applied(parts, hunks)):
            return None
        best = list(hunks)
        for fewer in smaller(hunks, lambda kept: passes(applied(parts, kept))):
            best = fewer
    text = applied(parts, best)
    try:
        held = passes.count(text) if best else 0
    except Spent:
        return None
    return Edit(text, tuple(best), held, OF, like) if held >= OFTEN else None
