"""Which faults stand: from findings to suspicions, through what swaps have shown of them, to the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from firstfault.coverage import not_cleared
from firstfault.faults import EXPLAINS, SERVED, SYMPTOMS, layer_of, remedy_of
from firstfault.finding import Finding, LayerReport, Status
from firstfault.place import Place
from firstfault.values import Json
from firstfault.verdict import Fault, Outcome, SubjectKind, Verdict, VerdictStatus

PROOF, STANDS = 0.9, 0.5
"""The weight of proof, and that of the faults listed untested: less is a suspicion, which only a swap can confirm."""


def suspected(report: LayerReport) -> dict[str, float]:
    """The faults that a layer's failed findings are evidence for, with the combined weight of each.

    Independent evidence adds up as 1 − Π(1 − weight); a warning supports a failure, but raises none.
    """
    doubt: dict[str, float] = {}
    for finding in report.failures:
        for fault, weight in finding.faults.items():
            doubt[fault] = doubt.get(fault, 1.0) * (1.0 - weight)
    for finding in report.findings:
        if finding.status is Status.WARN:
            for fault, weight in finding.faults.items():
                if fault in doubt:
                    doubt[fault] *= 1.0 - weight / 2
    ranked = sorted(doubt.items(), key=lambda item: item[1])
    return {fault: 1.0 - left for fault, left in ranked}


def standing_faults(report: LayerReport, outcomes: Sequence[Outcome]) -> list[Fault]:
    """The faults of one layer's report that stand after their swaps, ranked.

    A confirmed swap settles a suspicion. A refuted one removes a suspicion drawn from symptoms, and only weakens one
    that is proven from structure. A symptom is listed only when no cause is, or when it was seen for certain and its
    causes are but suspected; a suspicion only when nothing is certain; and what a certain fault explains is left to it
    (`faults.EXPLAINS`).
    """
    tested = {outcome.fault: outcome for outcome in outcomes}
    faults = [_fault(report, name, weight, tested.get(name)) for name, weight in suspected(report).items()]
    named = {fault.fault for fault in faults}
    faults += [
        _fault(report, outcome.fault, 0.5, outcome)
        for outcome in outcomes
        if outcome.confirmed and outcome.fault not in named
    ]
    standing = [fault for fault in faults if fault.confidence >= STANDS]
    causes = [fault for fault in standing if fault.fault not in SYMPTOMS]
    certain = [fault for fault in causes if _certain(fault)]
    beside = {name for outcome in outcomes for name in outcome.beside}
    explained = {name for fault in certain for name in EXPLAINS.get(fault.fault, ())} - beside
    seen = [fault for fault in standing if fault.fault in SYMPTOMS and fault.confidence >= PROOF]
    listed = certain or ([*causes, *seen] if causes else standing)
    return sorted([fault for fault in listed if fault.fault not in explained], key=_rank)


def _certain(fault: Fault) -> bool:
    return bool(fault.confirmed) or fault.confidence >= PROOF


def may_follow(fault: Fault, earlier: Sequence[LayerReport]) -> bool:
    """Whether a later fault may be what open failures of earlier layers brought about.

    A symptom may be of any; another, where it is not certain, of a cause that is suspected.
    """
    causes = {name for report in earlier for name in suspected(report)} - SYMPTOMS
    return fault.fault in SYMPTOMS or (bool(causes) and not _certain(fault))


def _rank(fault: Fault) -> tuple[int, int, bool, float]:
    return (0 if fault.confirmed else 1, fault.layer.rank, fault.fault in SYMPTOMS, -fault.confidence)


def _fault(report: LayerReport, name: str, weight: float, outcome: Outcome | None) -> Fault:
    about = [
        finding
        for finding in report.findings
        if name in finding.faults and finding.status in (Status.FAIL, Status.WARN)
    ]
    about.sort(key=lambda finding: -finding.faults[name])
    fixes = [finding.fix for finding in about if finding.fix and finding.faults[name] == max(finding.faults.values())]
    places: dict[str, Place] = {}
    for finding in about:
        if finding.where is not None:
            places.setdefault(str(finding.where), finding.where)
    confirmed = outcome.confirmed if outcome else None
    swap = outcome.swap if outcome else None
    evidence = [finding.message for finding in [*about, *_symptoms(report, name)]]
    if confirmed and swap:
        evidence.append(
            f"{swap.change}: {swap.metric} {_number(swap.before)} → {_number(swap.after)} over {swap.seeds} {swap.over}"
        )
    return Fault(
        fault=name,
        layer=layer_of(name, report.layer),
        confidence=round(_confidence(weight, outcome), 3),
        confirmed=confirmed,
        evidence=tuple(evidence),
        remedy=fixes[0] if fixes else remedy_of(name),
        where=tuple(places.values())[:5],
        swap=swap,
    )


def _symptoms(report: LayerReport, name: str) -> list[Finding]:
    """The findings that name nothing but what this fault brings about: they are listed under it."""
    return [
        finding
        for finding in report.failures
        if name not in finding.faults and finding.faults and set(finding.faults) <= EXPLAINS.get(name, frozenset())
    ]


def _confidence(weight: float, outcome: Outcome | None) -> float:
    if outcome is None or (outcome.confirmed is None and (weight >= PROOF or not outcome.undecided)):
        return weight
    if outcome.confirmed:
        return 1 - (1 - weight) * 0.2
    if outcome.replayed:
        return 0.0
    return weight * 0.9 if weight >= PROOF else weight * 0.4


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def settle(report: LayerReport, outcomes: Sequence[Outcome]) -> LayerReport:
    """A report in which no fault stands: a failure that swaps refuted becomes a warning, and both kinds say why.

    A failure is refuted when undoing every cause that it is evidence for was tried in earnest, and changed nothing.
    Any other stays a failure, so that the verdict is not healthy.
    """
    tested = {outcome.fault: outcome for outcome in outcomes}
    return replace(
        report,
        findings=tuple(
            _settled(finding, tested) if finding.status is Status.FAIL else finding for finding in report.findings
        ),
    )


def _settled(finding: Finding, tested: Mapping[str, Outcome]) -> Finding:
    causes = [fault for fault in finding.faults if fault not in SYMPTOMS] or list(finding.faults)
    open_ones = [fault for fault in causes if fault not in tested or tested[fault].confirmed is None]
    if causes and not open_ones:
        told = "undoing it changed nothing, so it is no fault"
        return replace(finding, status=Status.WARN, message=f"{finding.message} ({told})")
    known = dict.fromkeys(tested[fault].reason for fault in open_ones if fault in tested and tested[fault].reason)
    return replace(finding, message=f"{finding.message} (undecided: {'; '.join(known) or 'no swap was tried'})")


def leave_open(report: LayerReport) -> LayerReport:
    """A report whose undecided failures are warnings, since a fault stands in another layer."""
    return replace(
        report,
        findings=tuple(
            replace(finding, status=Status.WARN) if finding.status is Status.FAIL else finding
            for finding in report.findings
        ),
    )


def conclude(
    target: str,
    reports: Sequence[LayerReport],
    faults: Sequence[Fault],
    *,
    seconds: float,
    safety: Json | None = None,
    outcomes: Sequence[Outcome] = (),
    mlflow_run_id: str | None = None,
    prefect_flow_run_id: str | None = None,
    subject: SubjectKind = SubjectKind.TARGET,
    left_open: Sequence[str] = (),
) -> Verdict:
    """The verdict over all layers: faulty when a fault stands; else error when a check crashed.

    It is undecided when a check failed, or when what was looked at is too little to clear a layer; `left_open` are
    further reasons for that.
    """
    if subject is SubjectKind.INCIDENT:
        faults = [replace(fault, layer=SERVED.get(fault.fault, fault.layer)) for fault in faults]
    status = _status(reports, faults)
    open_ones = not_cleared(reports, watched=subject is SubjectKind.WATCHED) if status is VerdictStatus.HEALTHY else ()
    open_ones = (*open_ones, *left_open) if status is VerdictStatus.HEALTHY else ()
    return Verdict(
        target,
        VerdictStatus.UNDECIDED if open_ones else status,
        tuple(faults),
        tuple(reports),
        seconds,
        safety,
        mlflow_run_id,
        prefect_flow_run_id,
        tuple(outcomes),
        subject,
        open_ones,
    )


def _status(reports: Sequence[LayerReport], faults: Sequence[Fault]) -> VerdictStatus:
    if faults:
        return VerdictStatus.FAULTY
    statuses = {finding.status for report in reports for finding in report.findings}
    if Status.ERROR in statuses:
        return VerdictStatus.ERROR
    return VerdictStatus.UNDECIDED if Status.FAIL in statuses else VerdictStatus.HEALTHY
