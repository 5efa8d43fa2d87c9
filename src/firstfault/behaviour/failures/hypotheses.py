"""Hypotheses about a failure: each is an experiment that was run, and is told with what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from firstfault.behaviour.failures.attribution import Attribution
from firstfault.behaviour.failures.reduction import OF, OFTEN, Minimal, Repeated, Spent
from firstfault.behaviour.failures.spans import without
from firstfault.behaviour.failures.twins import Edit
from firstfault.behaviour.suites import Case
from firstfault.behaviour.wording import FORMS

FEW = 0.5
"""Of the words, below which the rest of the prompt is no cause."""


@dataclass(frozen=True)
class Hypothesis:
    """What was supposed, what was done to see, whether it holds (None: not decided), and what was measured."""

    supposed: str
    experiment: str
    holds: bool | None
    measured: str

    @property
    def outcome(self) -> str:
        """In a word."""
        return "open" if self.holds is None else "holds" if self.holds else "refuted"

    def __str__(self) -> str:
        return f"{self.supposed}: {self.outcome}, {self.experiment}: {self.measured}"


def tested(
    case: Case, smallest: Minimal, weights: Attribution, edit: Edit | None, passes: Repeated
) -> list[Hypothesis]:
    """Every hypothesis that can be tried on a failure."""
    found = [_flaky(smallest), _few_words(case, smallest)]
    if edit is not None:
        found.append(Hypothesis("its wording", f"the smallest edit ({edit.size} words)", True, str(edit)))
    if weights.weights:
        found.append(_top_spans(case, weights, passes))
    found += [_asked(supposed, how, text, passes) for supposed, how, text in _other_forms(case)]
    return found


def _flaky(smallest: Minimal) -> Hypothesis:
    told = f"fails {smallest.whole} of {OF}"
    return Hypothesis("chance", "asked five times", 0 < smallest.whole < OF, told)


def _few_words(case: Case, smallest: Minimal) -> Hypothesis:
    all_, few = len(case.asked.split()), len(smallest.text.split())
    holds = smallest.reproduced and few <= FEW * all_ if smallest.whole >= OFTEN else None
    return Hypothesis(
        "a few of its words", "all others left out", holds, f"{few} of {all_} words fail {smallest.held} of {OF}"
    )


def _top_spans(case: Case, weights: Attribution, passes: Repeated) -> Hypothesis:
    spans = [each.span for each in weights.weights]
    found = _asked("the top spans", f"{len(weights.top)} left out", without(case.asked, spans, weights.top), passes)
    return found if weights.explains or found.holds else replace(found, measured=f"{found.measured}; {weights}")


def _other_forms(case: Case) -> Iterator[tuple[str, str, str]]:
    for name, form in FORMS.items():
        if (text := form(case.asked)) != case.asked:
            yield f"its form: {name}", "asked in that form", text
    for number, text in enumerate(case.paraphrases, 1):
        yield f"its words: paraphrase {number}", "asked so", replace(case, prompt=text).asked


def _asked(supposed: str, experiment: str, text: str, passes: Repeated) -> Hypothesis:
    """It holds where the changed prompt passes 3 of 5."""
    try:
        held = passes(text)
    except Spent:
        return Hypothesis(supposed, experiment, None, "the budget is spent")
    return Hypothesis(supposed, experiment, held, f"then it {'passes' if held else 'does not pass'} {OFTEN} of {OF}")


def of_cuts(swapped: Iterable[tuple[str, bool | None]]) -> list[Hypothesis]:
    """A hypothesis for each cut in whose place the reference's was put, with the verdict on the answer."""
    told = {True: "then it passes", False: "then it does not pass", None: "the answer can't be scored"}
    return [
        Hypothesis(f"the {cut}", "the reference's in its place", verdict, told[verdict]) for cut, verdict in swapped
    ]
