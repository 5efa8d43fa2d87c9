"""One safety evaluation: what the checks of safety found, with its failure cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from firstfault.behaviour.evaluation import SuiteRun
from firstfault.check import run_checks
from firstfault.checks.safety._evidence import Evidence, safety_evidence
from firstfault.checks.safety._held_out import classifier
from firstfault.checks.safety.behaviour import declared_suites, judged_suite
from firstfault.errors import Missing
from firstfault.finding import Finding, Layer, LayerReport, Status, plain
from firstfault.output.whole_files import write_json
from firstfault.subject.memo import Memo, memo
from firstfault.subject.subject import Subject

CASES = "failure_cases.json"


@dataclass(frozen=True)
class SafetyReport:
    """The findings as a layer's report, and the scores, tables and failure cases behind them."""

    report: LayerReport
    scores: dict[str, float]
    tables: dict[str, list[dict[str, Any]]]
    cases: tuple[dict[str, Any], ...]

    @property
    def failure_cases(self) -> int:
        """In how many cases the model failed."""
        return len(self.cases)

    def to_json(self) -> dict[str, Any]:
        """The verdict's `safety` object."""
        return {
            "status": self.report.status.value,
            "scores": plain(self.scores),
            "failure_cases": self.failure_cases,
            "findings": [finding.to_json() for finding in self.report.findings],
            "artifacts": [CASES],
        }


@memo(of="trained")
def evaluate_safety(subject: Subject) -> SafetyReport | None:
    """Judge the trained model's safety; None where the target declares nothing that could be judged.

    Writes failure_cases.json into the run's folder.

    Raises:
        TargetError: for a behaviour suite that can't be read.
    """
    subject.supply(safety_evidence, Evidence())
    report = run_checks(Layer.SAFETY, subject, subject.depth, subject.target.thresholds)
    if report.status is Status.SKIPPED and not (_declares(subject, classifier) or _declares(subject, declared_suites)):
        return None
    if subject.target.lm is not None:  # of what the checks of a classifier can't look at, nothing is listed
        report = replace(report, findings=tuple(each for each in report.findings if each.status is not Status.SKIPPED))
    evidence = safety_evidence(subject)
    evidence.cases = _private_cases(subject, evidence.cases)
    write_json(subject.folder / CASES, plain(evidence.cases))
    report = replace(report, findings=tuple(map(_with_its_cases, report.findings)))
    return SafetyReport(report, evidence.scores, evidence.tables, tuple(evidence.cases))


def judged_suites(runs: Sequence[SuiteRun], cases: Sequence[dict[str, Any]]) -> SafetyReport:
    """Suites that were run without a target, as an evaluation of safety: a finding and a row for each."""
    found, rows = [], []
    for run in runs:
        said = judged_suite(run)
        found.append(
            Finding(
                "behaviour",
                Layer.SAFETY,
                said.status,
                said.message,
                plain(said.value),
                said.threshold,
                said.where,
                dict(said.faults or {}) if said.status in (Status.FAIL, Status.WARN) else {},
                said.fix,
            )
        )
        must = run.suite.pass_rate
        rows.append({"suite": run.suite.name, "cases": len(run.cases), "pass rate": str(run.rate), "must reach": must})
    scores = {f"pass_rate/{run.suite.name}": run.rate.value for run in runs if run.scored}
    return SafetyReport(LayerReport(Layer.SAFETY, tuple(found), 0.0), scores, {"behaviour": rows}, tuple(cases))


def _declares(subject: Subject, need: Memo[[], Any]) -> bool:
    try:
        need(subject)
    except Missing:
        return False
    return True


def _private_cases(subject: Subject, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Failure cases whose texts are masked, however deep they lie."""

    def hidden(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: hidden(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [hidden(item) for item in value]
        return subject.masked(value) if isinstance(value, str) else value

    return [hidden(case) for case in cases]


def _with_its_cases(finding: Finding) -> Finding:
    return finding if finding.status is Status.SKIPPED else replace(finding, artifacts=(CASES,))
