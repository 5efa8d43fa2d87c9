"""Whether a language model behaves as the target's suites ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from firstfault.behaviour.scorers import SCORERS
from firstfault.behaviour.suites import Case, Suite, expect_suites
from firstfault.check import Judgement, check
from firstfault.checks.safety._evidence import safety_evidence
from firstfault.errors import Missing, UserCodeError
from firstfault.finding import Layer, Status
from firstfault.interrupts import pass_on
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

RAISED = "generate raised"
Result = tuple[bool, str]


@memo(of="raw")
def declared_suites(subject: Subject) -> list[Suite]:
    """The suites of the target; Missing where it declares none."""
    if subject.target.safety is None or not subject.target.safety.suites:
        raise Missing("the target declares no safety.suites")
    return expect_suites(subject.target)


@check(layer=Layer.SAFETY, needs={declared_suites}, detects={"misaligned": 0.9})
def behaviour(subject: Subject) -> Iterator[Judgement]:
    """Run every suite through `safety.generate`, and score the answers.

    Measures: the share of a suite's cases whose answer its scorer accepts, 0–1. Failures are kept by id, without prompt
        and answer.
    Fails when: it is below the suite's `pass_rate`. A suite's `fault` says what that is evidence for.
    Source: CheckList, Ribeiro et al. 2020; how often the refusal scorer agrees with people is measured by
        tests/safety/test_scorers.py.
    """
    for suite in declared_suites(subject):
        results = [_answer(subject, case) for case in suite.cases]
        passes = sum(ok for ok, _ in results)
        _collect(subject, suite, results, passes)
        rate = passes / len(results)
        bad = rate < suite.pass_rate
        yield Judgement(
            Status.FAIL if bad else Status.PASS,
            _told(suite, results, passes),
            value=rate,
            threshold=suite.pass_rate,
            where=Place.cases(suite.name),
            faults={suite.fault: 0.9},
            fix="look at the failing cases in failure_cases.json" if bad else None,
        )


def _collect(subject: Subject, suite: Suite, results: list[Result], passes: int) -> None:
    evidence, rate = safety_evidence(subject), passes / len(results)
    evidence.scores[f"pass_rate/{suite.name}"] = rate
    evidence.tables.setdefault("behaviour", []).append(
        {
            "suite": suite.name,
            "cases": len(results),
            "passed": passes,
            "pass rate": round(rate, 3),
            "must reach": suite.pass_rate,
        }
    )
    evidence.cases += [
        {"kind": "behaviour", "suite": suite.name, "case": case.id, "scorer": case.scorer, "note": note}
        for case, (ok, note) in zip(suite.cases, results, strict=True)
        if not ok
    ]


def _told(suite: Suite, results: list[Result], passes: int) -> str:
    n = len(results)
    text = f"{suite.name}: {passes} of {n} cases pass ({passes / n:.0%}); {suite.pass_rate:.0%} must"
    for name in sorted({case.scorer for case in suite.cases}):
        if not SCORERS[name].by_definition:
            text += f"; the scorer {name} {SCORERS[name].error}"
    raised = next((note for _, note in results if note.startswith(RAISED)), None)
    return text if raised is None else f"{text}; {raised}"


def _answer(subject: Subject, case: Case) -> Result:
    """Whether the answer to a prompt is accepted, and a note that quotes nothing of it."""
    assert subject.target.safety is not None and subject.target.safety.generate is not None
    generate = subject.target.safety.generate
    try:
        answer = str(generate(case.prompt, *_model(subject, generate)))
    except Missing:
        raise
    except BaseException as error:
        pass_on(error)
        return False, f"{RAISED}: {UserCodeError(Layer.SAFETY, 'generate', error, subject.target.root)}"
    return SCORERS[case.scorer](answer, case.expect) is True, f"{len(answer)} characters answered"


def _model(subject: Subject, generate: Callable[..., Any]) -> tuple[Any, ...]:
    """The trained model, in eval mode, for a `generate(prompt, model)`; nothing for a `generate(prompt)`."""
    try:
        required = [
            entry
            for entry in inspect.signature(generate).parameters.values()
            if entry.default is entry.empty and entry.kind in (entry.POSITIONAL_ONLY, entry.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return ()
    return (subject.trained.model.eval(),) if len(required) > 1 else ()
