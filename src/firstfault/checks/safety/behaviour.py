"""Whether a language model behaves as the target's suites ask for."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.behaviour.asking import RAISED, Asker
from firstfault.behaviour.evaluation import Outcome, SuiteRun, evaluate
from firstfault.behaviour.suites import Suite, expect_suites
from firstfault.behaviour.trust import TOO_GOOD, Trust, trust
from firstfault.check import Judgement, check
from firstfault.checks.safety._evidence import safety_evidence
from firstfault.errors import Missing, UserCodeError
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.generation import model_for
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject


@memo(of="raw")
def declared_suites(subject: Subject) -> list[Suite]:
    """The suites of the target; Missing where it declares none."""
    if subject.target.safety is None or not subject.target.safety.suites:
        raise Missing("the target declares no safety.suites")
    return expect_suites(subject.target)


@check(layer=Layer.SAFETY, needs={declared_suites}, detects={"misaligned": 0.9})
def behaviour(subject: Subject, *, doubt: float = TOO_GOOD) -> Iterator[Judgement]:
    """Run every suite through `safety.generate`, and score the answers.

    Measures: the share of a suite's scored cases whose answer its scorer accepts, 0–1, with its interval. Failures are
        kept by id, without prompt and answer. A score of at least `doubt` is tested for being
        gamed.
    Fails when: it is below the suite's `pass_rate`. A suite's `fault` says what that is evidence for.
    Not a fault when: only what could not be scored keeps it below: then it warns.
    Source: CheckList, Ribeiro et al. 2020; how often the refusal scorer agrees with people is measured by
        tests/safety/test_scorers.py.
    """
    ask = _asker(subject)
    for suite in declared_suites(subject):
        run = evaluate(suite, ask)
        _collect(subject, run)
        yield judged_suite(run)
        if run.rate.value >= doubt:
            yield _believed(trust(run, ask))


def judged_suite(run: SuiteRun) -> Judgement:
    """What a suite's rate says, against the rate that it must reach."""
    suite, rate, counts = run.suite, run.rate.value, run.counts
    place = Place.cases(suite.name)
    if not run.scored:
        return Judgement(Status.SKIPPED, f"{_told(run)}: {run.cases[0].note}", where=place)
    short = counts[Outcome.PASS] / len(run.cases) < suite.pass_rate
    status = Status.FAIL if rate < suite.pass_rate else Status.WARN if short else Status.PASS
    bad = status is Status.FAIL
    return Judgement(
        status,
        _told(run),
        value=rate,
        threshold=suite.pass_rate,
        where=place,
        faults={suite.fault: 0.9},
        fix="look at the failing cases in failure_cases.json" if bad else None,
    )


def _believed(found: Trust) -> Judgement:
    """What the tests of trust say of a score that is near 1."""
    bad = found.gaming_suspected
    return Judgement(
        Status.WARN if bad else Status.PASS,
        "; ".join(line.strip() for line in (found.lines if bad else found.lines[:1])),
        value=len(found.families),
        where=Place.cases(found.suite),
        faults={"metric_gaming": 0.6} if bad else {},
        fix="judge by several metrics, on a twin that was held back" if bad else None,
    )


def _collect(subject: Subject, run: SuiteRun) -> None:
    evidence, suite, counts = safety_evidence(subject), run.suite, run.counts
    if run.scored:
        evidence.scores[f"pass_rate/{suite.name}"] = run.rate.value
    evidence.tables.setdefault("behaviour", []).append(
        {
            "suite": suite.name,
            "cases": len(run.cases),
            "passed": counts[Outcome.PASS],
            "unscored": counts[Outcome.UNSCORED],
            "pass rate": round(run.rate.value, 3) if run.scored else None,
            "interval": f"{run.rate.low:.2f}–{run.rate.high:.2f}",
            "must reach": suite.pass_rate,
        }
    )
    evidence.cases += [
        {"kind": "behaviour", "suite": suite.name, "case": each.case.id, "scorer": each.case.scorer, "note": each.note}
        for each in run.cases
        if each.outcome is not Outcome.PASS
    ]


def _told(run: SuiteRun) -> str:
    text = f"{run.headline}; {run.suite.pass_rate:.0%} must"
    for scorer in run.suite.scorers.values():
        if not scorer.by_definition:
            text += f"; the scorer {scorer.name} {scorer.error}"
    raised = next((each.note for each in run.cases if each.note.startswith(RAISED)), None)
    return text if raised is None else f"{text}; {raised}"


def _asker(subject: Subject) -> Asker:
    """Asks the target's model; what it raises is told by the line of the user's file."""
    generate = subject.target.safety.generate if subject.target.safety is not None else None
    if generate is None:
        raise Missing("the target declares no safety.generate that could answer")

    def told_as(error: BaseException) -> str:
        return str(UserCodeError(Layer.SAFETY, "generate", error, subject.target.root))

    return Asker(lambda prompt: generate(prompt, *model_for(generate, lambda: subject.trained.model)), told_as=told_as)
