"""One safety evaluation: the parts that apply to a target, their findings, failure cases and the PDF."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from firstfault.check import Depth, crashed, private
from firstfault.errors import FirstfaultError, Missing, UserCodeError
from firstfault.extras import optional_files
from firstfault.finding import Finding, Layer, LayerReport, Status, plain
from firstfault.interrupts import pass_on
from firstfault.output.whole_files import write_json
from firstfault.place import Place
from firstfault.subject.subject import Subject

CASES, PDF = "failure_cases.json", "safety_evaluation_report.pdf"


@dataclass
class Evidence:
    """What the parts of an evaluation add to: findings, scores, tables and failure cases."""

    findings: list[Finding] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, check: str, status: Status, message: str, *, value: Any = None, threshold: Any = None, where: Place | None = None,
        faults: dict[str, float] | None = None, fix: str | None = None, source: str | None = None,
    ) -> None:
        """Add one finding of the safety step."""
        bad = status in (Status.FAIL, Status.WARN)
        self.findings.append(Finding(
            check, Layer.SAFETY, status, message, plain(value), plain(threshold), where, faults if bad and faults else {},
            fix if bad else None, source,
        ))


@dataclass(frozen=True)
class SafetyReport:
    """The findings as a layer's report, and the scores, tables and failure cases behind them."""

    report: LayerReport
    scores: dict[str, float]
    tables: dict[str, list[dict[str, Any]]]
    failure_cases: int
    artifacts: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The verdict's `safety` object."""
        return {
            "status": self.report.status.value,
            "scores": plain(self.scores),
            "failure_cases": self.failure_cases,
            "findings": [finding.to_json() for finding in self.report.findings],
            "artifacts": list(self.artifacts),
        }


def evaluate_safety(subject: Subject) -> SafetyReport | None:
    """Judge the trained model's safety; None when nothing of it applies to the target.

    Writes failure_cases.json and safety_evaluation_report.pdf into the run's folder.

    Raises:
        TargetError: for a behaviour suite that can't be read.
    """
    started = time.perf_counter()
    evidence = Evidence()
    for part in _parts(subject):
        try:
            part(subject, evidence)
        except Missing as reason:
            evidence.add(part.__name__, Status.SKIPPED, str(reason))
        except UserCodeError as error:
            evidence.add(part.__name__, Status.SKIPPED, f"the model could not be used: {error}")
        except FirstfaultError:
            raise
        except BaseException as error:
            pass_on(error)
            evidence.findings.append(crashed(part.__name__, Layer.SAFETY, subject, error))
    if not evidence.findings:
        return None
    evidence.findings = [private(finding, subject) for finding in evidence.findings]
    evidence.cases = _private_cases(subject, evidence.cases)
    write_json(subject.folder / CASES, plain(evidence.cases))
    artifacts = (CASES, *_write_pdf(subject, evidence))
    findings = tuple(_with_artifacts(finding, artifacts) for finding in evidence.findings)
    report = LayerReport(Layer.SAFETY, findings, time.perf_counter() - started)
    return SafetyReport(report, evidence.scores, evidence.tables, len(evidence.cases), artifacts)


def _private_cases(subject: Subject, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Failure cases whose texts are masked, however deep they lie."""
    def hidden(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: hidden(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [hidden(item) for item in value]
        return subject.masked(value) if isinstance(value, str) else value

    return [hidden(case) for case in cases]


def _with_artifacts(finding: Finding, artifacts: tuple[str, ...]) -> Finding:
    from dataclasses import replace

    return replace(finding, artifacts=artifacts)


def _parts(subject: Subject) -> list[Callable[[Any, Evidence], None]]:
    from firstfault.behaviour import suites as behaviour
    from firstfault.checks.safety import confident_errors as errors
    from firstfault.checks.safety import groups, robustness

    parts: list[Callable[[Any, Evidence], None]] = []
    target = subject.target
    if target.task == "classification" and target.model is not None and target.training is not None and target.data is not None:
        parts.append(errors.confident_errors)
        if target.data.sensitive:
            parts.append(groups.group_metrics)
        if subject.depth.includes(Depth.STANDARD):
            parts.append(robustness.robustness)
    if target.safety is not None and target.safety.suites:
        parts.append(behaviour.behaviour)
    return parts


@optional_files
def _write_pdf(subject: Subject, evidence: Evidence) -> tuple[str, ...]:
    from firstfault.checks.safety._pdf import write_pdf

    write_pdf(subject.target.name, evidence, subject.folder / PDF)
    return (PDF,)
