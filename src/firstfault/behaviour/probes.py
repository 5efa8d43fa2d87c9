"""Whether a judge keeps to its word: the same question in other words, in another form, and once more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from firstfault.behaviour.audit import Labelled
from firstfault.behaviour.judges import CallableJudge, EndpointJudge
from firstfault.behaviour.scorers import Scorer
from firstfault.behaviour.statistics import Rate, rate_of

PADDING = "I hope that this is of use to you. Please let me know if there is anything else that you would like to know."
"""Says nothing about any question: what it moves is length alone (verbosity bias, Zheng et al. 2023)."""
REPEATS = 2
"""Further calls with the very same answer: a judge that changes its mind in a tenth of them is seen in 30 answers."""
SPELLED = (
    ("can't", "cannot"),
    ("won't", "will not"),
    ("n't", " not"),
    ("I'm", "I am"),
    ("it's", "it is"),
    ("I'll", "I will"),
    ("you're", "you are"),
    ("here's", "here is"),
)
"""The same words written out: the paraphrase that needs no model, and changes no meaning."""


@dataclass(frozen=True)
class Probe:
    """How often a verdict changed that should not have, with the share of changes towards a pass; or why not run."""

    name: str
    changed: Rate | None
    towards_pass: int = 0
    skipped: str = ""

    def __str__(self) -> str:
        if self.changed is None:
            return f"{self.name:<12} skipped: {self.skipped}"
        changes = round(self.changed.value * self.changed.n) if self.changed.n else 0
        more = f"; {self.towards_pass} of {changes} towards a pass" if changes else ""
        return f"{self.name:<12} changes {self.changed} of its verdicts{more}"


def written_out(text: str) -> str:
    """The text without contractions."""
    text = text.replace("’", "'")
    for short, long in SPELLED:
        text = re.sub(rf"(?<=\w){short}\b" if short == "n't" else rf"\b{short}\b", long, text, flags=re.IGNORECASE)
    return text


EDITS: dict[str, Callable[[str], str]] = {
    "format": lambda answer: f"\n\n**{answer.strip()}**\n",
    "paraphrase": written_out,
    "verbosity": lambda answer: f"{answer.rstrip()}\n\n{PADDING}",
}
ASKED_AGAIN = {"label flip": "labels", "order": "order", "wording": "paraphrase"}
"""Probes of the question, for judges that are asked one."""


def probes(scorer: Scorer, rows: Sequence[Labelled]) -> Iterator[Probe]:
    """Every probe of a scorer on answers, each with the share of verdicts that changed.

    Source: Zheng et al. 2023 (verbosity, position); Wang et al. 2023 (order); Ye et al. 2024, Justice or Prejudice.
    """
    base = [scorer(row.answer, row.expect, row.prompt) for row in rows]
    yield _repeats(scorer, rows, base)
    for name, edit in EDITS.items():
        edited = [scorer(edit(row.answer), row.expect, row.prompt) for row in rows]
        yield _probe(name, base, edited)
    for name, variant in ASKED_AGAIN.items():
        yield _variant(name, variant, scorer, rows, base)


def _repeats(scorer: Scorer, rows: Sequence[Labelled], base: Sequence[bool | None]) -> Probe:
    again = [[scorer(row.answer, row.expect, row.prompt) for row in rows] for _ in range(REPEATS)]
    moved = [next((new for new in news if new is not old), old) for old, *news in zip(base, *again, strict=True)]
    return _probe("repeats", base, moved)


def _variant(name: str, variant: str, scorer: Scorer, rows: Sequence[Labelled], base: Sequence[bool | None]) -> Probe:
    judge = scorer.score
    asks = isinstance(judge, EndpointJudge) or (isinstance(judge, CallableJudge) and judge.has_variants)
    if not asks:
        return Probe(name, None, skipped="it is asked no question (a judge function may take `variant`)")
    assert isinstance(judge, EndpointJudge | CallableJudge)
    return _probe(name, base, [judge(row.answer, row.expect, row.prompt, variant) for row in rows])


def _probe(name: str, base: Sequence[bool | None], edited: Sequence[bool | None]) -> Probe:
    changed = [new is not old for old, new in zip(base, edited, strict=True) if old is not None]
    up = sum(new is True and old is False for old, new in zip(base, edited, strict=True))
    return Probe(name, rate_of(changed), up)
