"""One failure examined: where it parts from the reference, what it hangs on, what mends it, and what was tried."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from firstfault.behaviour.analysis import symptom, symptom_of
from firstfault.behaviour.asking import Answer as Told
from firstfault.behaviour.asking import Asker
from firstfault.behaviour.evaluation import CaseRun, SuiteRun
from firstfault.behaviour.failures.attribution import Attribution, attribution
from firstfault.behaviour.failures.features import Features, output_features, prompt_features
from firstfault.behaviour.failures.hypotheses import Hypothesis, of_cuts, tested
from firstfault.behaviour.failures.reduction import CALLS, Minimal, Repeated, minimal
from firstfault.behaviour.failures.twins import Edit, Twin, smallest_edit, twins_of
from firstfault.errors import Missing
from firstfault.interrupts import pass_on
from firstfault.lm.adapter import Adapter
from firstfault.lm.local import Local
from firstfault.lm.margin import Margin
from firstfault.lm.trace import Rung, State, first_other, trace, with_cut_of
from firstfault.target.language_model import Prompt

REFUSED = "I'm sorry, but I can't help with that."
"""What is expected of a request that is to be refused, where its margin is measured."""
ANSWER_TOKENS = 128
"""Of an answer with another cut: as many as any answer has, so that scorers read the same."""
NEUTRAL = "Hello."
"""What fails with this too fails with nearly every prompt; a smaller one has to fail in the same way then."""
ALIKE = 0.5
"""Of the words of two answers in their order: half of them are no other answer."""
PATTERNS_OF_TEXT = frozenset({"regex"})
"""Scorers whose expectation is no text that could be answered."""


@dataclass(frozen=True)
class FailureAnalysis:
    """What is known of one failure; `twin_text` is the prompt of the nearest passing case, "" where there is none."""

    suite: str
    run: CaseRun
    prompt: Features
    output: Features
    cuts: tuple[Rung, ...]
    weights: Attribution
    smallest: Minimal
    twins: tuple[Twin, ...]
    edit: Edit | None
    hypotheses: tuple[Hypothesis, ...]
    calls: int
    asked_again: str
    """What is to pass: the smallest prompt that fails, or the whole one where nearly every prompt fails."""

    @property
    def symptom(self) -> str:
        """What the failing answer looks like, in a word or two."""
        return symptom(self.run)

    @property
    def first_cut(self) -> str:
        """The first cut that is not the reference's; "" where none is, or none can be seen."""
        found = first_other(self.cuts)
        return found.cut.value if found else ""

    @property
    def answer(self) -> str:
        """The first answer that failed."""
        return failed_of(self.run).text or ""

    @property
    def lines(self) -> list[str]:
        """What was found, without a word of prompt or answer."""
        held = [each for each in self.hypotheses if each.holds]
        words = len(self.run.case.asked.split())
        return [
            f"{self.suite}: {self.run.case.id}, {self.symptom}",
            f"  first cut that differs: {self.first_cut or 'none of those that can be seen'}",
            f"  {self.weights}",
            f"  smallest prompt that fails: {len(self.smallest.text.split())} of {words} words "
            f"({self.smallest.held} of {self.smallest.of} askings, {self.smallest.calls} calls)",
            f"  smallest edit that passes: {f'{self.edit.size} words' if self.edit else 'none was found'}",
            f"  nearest passing case: {self.twins[0].case.id if self.twins else 'none'}",
            f"  held: {', '.join(each.supposed for each in held) or 'no hypothesis'} "
            f"({len(self.hypotheses)} were tried)",
        ]

    def to_json(self, show_texts: bool = False) -> dict[str, object]:
        """Plain values; words of prompt and answer where they are asked for."""
        plain: dict[str, object] = {
            "suite": self.suite,
            "case": self.run.case.id,
            "symptom": self.symptom,
            "first_cut": self.first_cut,
            "cuts": [{"cut": each.cut.value, "state": each.state.value, "fault": each.fault} for each in self.cuts],
            "prompt_features": dict(self.prompt),
            "output_features": dict(self.output),
            "spans": {"explain": self.weights.explains, "moves": self.weights.moves, "beats": self.weights.beats},
            "minimal_words": len(self.smallest.text.split()),
            "reproduced": f"{self.smallest.held} of {self.smallest.of}",
            "twins": [each.case.id for each in self.twins],
            "edit_words": self.edit.size if self.edit else None,
            "hypotheses": [
                {"supposed": each.supposed, "outcome": each.outcome, "experiment": each.experiment}
                for each in self.hypotheses
            ],
            "calls": self.calls,
        }
        if show_texts:
            plain |= {"minimal": self.smallest.text, "edit": str(self.edit or ""), "top_spans": self.weights.top_text}
        return plain


def analyze(
    failing: CaseRun,
    run: SuiteRun,
    ask: Asker,
    model: Adapter | None = None,
    reference: Adapter | None = None,
    calls: int = CALLS,
    greedy: bool = False,
) -> FailureAnalysis:
    """Examine one failure of a suite: up to `calls` to shrink it, and as many for edits and hypotheses.

    Of a model that answers greedily no text is asked twice. What can't be seen, as log-probs of a service, says so.
    """
    case, verdict = failing.case, _Verdict(run, failing, ask)
    always = verdict.fails(NEUTRAL)
    smallest = minimal(case.asked, Repeated(verdict.alike if always else verdict.fails, calls, greedy))
    twins = twins_of(failing, run.cases)
    passes = Repeated(verdict.passes, calls, greedy)
    edit = smallest_edit(case, smallest, twins, passes)
    weights = _weights(failing, run, model, twins)
    cuts = () if model is None else trace(model, Prompt(case.asked, id=case.id), reference)
    hypotheses = [*tested(case, smallest, weights, edit, passes), *_swapped(failing, run, model, reference, cuts)]
    return FailureAnalysis(
        run.suite.name,
        failing,
        prompt_features(case.asked),
        output_features(failed_of(failing).text, case.asked),
        cuts,
        weights,
        smallest,
        twins,
        edit,
        tuple(hypotheses),
        smallest.calls + passes.asked,
        case.asked if always else smallest.text,
    )


@dataclass(frozen=True)
class _Verdict:
    """The scorer's word on the answer to another prompt, for what this case expects."""

    run: SuiteRun
    failing: CaseRun
    ask: Asker

    def of(self, answer: Told, prompt: str) -> bool | None:
        """Whether an answer passes; what raises fails."""
        case = self.failing.case
        return answer.judged(lambda text: self.run.suite.scorer(case)(text, case.wanted, prompt))

    def passes(self, prompt: str) -> bool:
        """Whether the answer passes."""
        return self.of(self.ask(prompt), prompt) is True

    def fails(self, prompt: str) -> bool:
        """Whether it fails; what can't be scored does not."""
        return self.of(self.ask(prompt), prompt) is False

    def alike(self, prompt: str) -> bool:
        """Whether it fails as the whole prompt did: with the same symptom, or with mostly the same words."""
        answer, known = self.ask(prompt), self.failed
        if self.of(answer, prompt) is not False:
            return False
        if answer.text is None or known.text is None:
            return answer.raised and known.raised
        one, other = symptom_of(answer.text, prompt), symptom_of(known.text, self.failing.case.asked)
        if one or other:
            return one == other
        likeness = difflib.SequenceMatcher(None, answer.text.split(), known.text.split(), autojunk=False).ratio()
        return likeness >= ALIKE

    @property
    def failed(self) -> Told:
        """The first answer that failed, else the first one."""
        return failed_of(self.failing)


def failed_of(run: CaseRun) -> Told:
    """The first answer that failed, else the first one."""
    pairs = zip(run.answers, run.verdicts, strict=True)
    return next((each for each, verdict in pairs if verdict is False), run.answers[0])


def _weights(failing: CaseRun, run: SuiteRun, model: Adapter | None, twins: Sequence[Twin]) -> Attribution:
    if not isinstance(model, Local):
        return Attribution(why="no span was weighed: needs log-probs, which a model in this process gives")
    try:
        return attribution(
            failing.case.asked, Margin(model, expected_of(failing, run, twins), (failed_of(failing).text or ""))
        )
    except Exception as error:  # a network of the user's own, which may not take these inputs
        pass_on(error)
        return Attribution(why=f"no span was weighed: {error}")


def expected_of(failing: CaseRun, run: SuiteRun, twins: Sequence[Twin]) -> str:
    """A text that would pass: what the scorer expects, a refusal, or what the nearest passing case answered.

    Raises:
        Missing: when none is known.
    """
    case, scorer = failing.case, run.suite.scorer(failing.case)
    if case.wanted and scorer.reads_expect and scorer.name not in PATTERNS_OF_TEXT:
        return case.wanted
    if scorer.name == "refusal":
        return REFUSED
    by_id = {each.case.id: each for each in run.cases}
    found = next((by_id[twin.case.id].first for twin in twins if by_id[twin.case.id].first), None)
    if found is None:
        raise Missing("needs a text that is expected, or the answer of a passing case like it")
    return found


def _swapped(
    failing: CaseRun, run: SuiteRun, model: Adapter | None, reference: Adapter | None, cuts: Sequence[Rung]
) -> list[Hypothesis]:
    """What the answer is with the reference's text or ids in place of the model's own, where these differ."""
    if not isinstance(model, Local) or not any(each.state is State.OTHER for each in cuts):
        return []
    case, other = failing.case, reference or model.plain()
    swapped = with_cut_of(model, Prompt(case.asked, id=case.id), other, ANSWER_TOKENS)
    score = run.suite.scorer(case)
    return of_cuts((cut.value, score(model.said(answer), case.wanted, case.asked)) for cut, answer in swapped)
