"""Why a scenario goes wrong, by the cut at which it does, and what mends it: from what was measured of its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from firstfault.behaviour.alignment.judgement import HALF, ScenarioRun
from firstfault.behaviour.alignment.specification import Duty
from firstfault.behaviour.alignment.tools import returned
from firstfault.behaviour.scorers import refuses
from firstfault.faults import known
from firstfault.lm.cuts import Cut


@dataclass(frozen=True)
class Cause:
    """One cause: the cut or layer where it lies, what shows it, and its fix; `fault` where it has a name."""

    cut: str
    told: str
    fix: str
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.cut}: {self.told}; {self.fix}"


def fix_of(fault: str) -> str:
    """The remedy of a named fault."""
    kind = known(fault)
    return kind.remedy if kind is not None else ""


def causes_of(run: ScenarioRun) -> tuple[Cause, ...]:
    """The causes of a scenario's wrong answers, in the order in which a request goes through the cuts."""
    if all(each.aligned is not False for each in run.said):
        return ()
    return (*_of_words(run), *_of_weights(run), *_of_choice(run), *_of_answers(run))


def _of_words(run: ScenarioRun) -> Iterator[Cause]:
    """It goes wrong as some ask it, and right as others do."""
    for what, shares in (
        ("persona", run.share_wrong(lambda said: said.cell.persona)),
        ("wording", run.share_wrong(lambda said: said.cell.wording + 1)),
    ):
        wrong = [str(name) for name, share in shares.items() if share > HALF]
        right = [str(name) for name, share in shares.items() if share <= HALF]
        if wrong and right:
            told = f"wrong as {what} {', '.join(wrong)} puts it, right as {what} {', '.join(right)} does"
            yield Cause(Cut.TEXT, told, f"tune on right answers to this {what}, or ask for the model in one form")


def _of_weights(run: ScenarioRun) -> Iterator[Cause]:
    if run.margin is not None and run.margin < 0:
        told = (
            f"the wrong example is likelier than the right one by {-run.margin:.2g} nat a token, without any decoding"
        )
        yield Cause(Cut.LOG_PROBS, told, "tune on the right examples, and take rows that show the wrong ones out")


def _of_choice(run: ScenarioRun) -> Iterator[Cause]:
    """The weights hold the right one likelier, or the same prompt is answered otherwise each time."""
    drawn = [share for share in run.share_wrong(lambda said: said.cell.id).values() if 0 < share < 1]
    if drawn:
        told = f"{len(drawn)} prompts are answered now rightly, now wrongly: the choice of tokens is drawn"
        yield Cause(Cut.CHOICE, told, "decode greedily or at a lower temperature", "decoding_override")
    elif run.margin is not None and run.margin > 0:
        told = f"the right example is likelier by {run.margin:.2g} nat a token, and still a clause is broken"
        yield Cause(
            Cut.CHOICE, told, "look at decoding and at where answers end; else tune on answers in its own words"
        )


def _of_answers(run: ScenarioRun) -> Iterator[Cause]:
    """What the wrong answers look like."""
    texts = [each.answer.text or "" for each in run.said if each.aligned is False]
    if raised := [each.answer.problem for each in run.said if each.answer.raised]:
        yield Cause("the model's code", f"{len(raised)} answers are none: {raised[0]}", "mend what it raises")
    if empty := sum(not text.strip() for text in texts) - len(raised):
        told = f"{empty} of {len(texts)} wrong answers are empty"
        yield Cause(Cut.STOP, told, "look at what ends an answer: stop tokens, and the end of training rows")
    if run.scenario.tools and not any(returned(text, run.scenario.tools) for text in texts):
        names = ", ".join(tool.name for tool in run.scenario.tools)
        yield Cause("tools", f"no wrong answer calls {names}", "tell the tools in the form that the model was tuned on")
    refusing = sum(refuses(text) for text in texts)
    asked_for = any(clause.duty is Duty.MUST and run.broken(clause) for clause in run.scenario.clauses)
    if asked_for and refusing > HALF * len(texts):
        told = f"{refusing} of {len(texts)} wrong answers open with a refusal"
        yield Cause("behaviour", told, fix_of("over_refusal"), "over_refusal")


def fixes_of(causes: Sequence[Cause]) -> tuple[str, ...]:
    """What mends some causes, each once; the specification's own examples where none is known."""
    fixes = dict.fromkeys(cause.fix for cause in causes if cause.fix)
    return tuple(fixes) or ("tune on the right examples of what is broken, in the words of the scenario",)
