"""The verdict: which faults firstfault stands by, ranked, and the first faulty layer."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from importlib import resources

from firstfault.coverage import coverage_of, not_cleared
from firstfault.faults import EXPLAINS, SYMPTOMS, layer_of, remedy_of
from firstfault.finding import Finding, Layer, LayerReport, Status, plain
from firstfault.muting import muted_in
from firstfault.place import Place
from firstfault.values import Json

SCHEMA_VERSION = 2
PROOF, STANDS = 0.9, 0.5
"""The weight of proof, and that of the faults listed untested: less is a suspicion, which only a swap can confirm."""


class VerdictStatus(StrEnum):
    """What a debug run concludes."""

    HEALTHY = "healthy"
    FAULTY = "faulty"
    UNDECIDED = "undecided"
    ERROR = "error"


class SubjectKind(StrEnum):
    """What a verdict is about: a target of the user's, a watched training loop, or an incident in production."""

    TARGET = "target"
    WATCHED = "watched"
    INCIDENT = "incident"


@dataclass(frozen=True)
class Swap:
    """What undoing a fault did to the metric, as means over paired seeds.

    `sets` are the settings that the change gives other values, as plain values: lr, weight_decay, optimizer, shuffle,
    batch_size.
    """

    change: str
    metric: str
    before: float | None
    after: float | None
    seeds: int
    p_value: float | None = None
    sets: Mapping[str, float | str | bool | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("before", "after", "p_value"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):  # a training that ended in NaN has no score
                object.__setattr__(self, name, None)


@dataclass(frozen=True)
class Outcome:
    """The test of one suspected fault: `confirmed` is None when no swap could test it, and why in `reason`.

    With `undecided` a swap was tried and could not tell: less than a proof neither stands nor falls by it. `beside` are
    the faults that had to be undone with it: each of them is shown to be needed, and none is the other's symptom.
    """

    fault: str
    confirmed: bool | None
    swap: Swap | None = None
    reason: str = ""
    beside: tuple[str, ...] = ()
    undecided: bool = False

    def to_json(self) -> Json:
        """This outcome as JSON values."""
        return plain(asdict(self))

    @classmethod
    def from_json(cls, values: Json) -> Outcome:
        """The outcome that `to_json` wrote."""
        swap = values.get("swap")
        return cls(
            values["fault"],
            values["confirmed"],
            Swap(**swap) if swap else None,
            values.get("reason", ""),
            tuple(values.get("beside", ())),
            values.get("undecided", False),
        )


@dataclass(frozen=True)
class Change:
    """A remedy as a change of one line of the user's code.

    Where `before` is empty, `after` is put in above the line.
    """

    file: str
    line: int
    before: str
    after: str


@dataclass(frozen=True)
class Fault:
    """A named cause that firstfault stands by; `where` are the places of its evidence, the strongest first.

    For a watched script, the first place is the line of the user's code that would be changed, and `change` how,
    where that is certain.
    """

    fault: str
    layer: Layer
    confidence: float
    confirmed: bool | None
    evidence: tuple[str, ...]
    remedy: str
    where: tuple[Place, ...] = ()
    swap: Swap | None = None
    change: Change | None = None

    @property
    def place(self) -> str:
        """The places as a text for people; empty where there are none."""
        return ", ".join(map(str, self.where))

    def to_json(self) -> Json:
        """This fault as JSON values."""
        return plain({**asdict(self), "where": [place.to_json() for place in self.where]})

    @classmethod
    def from_json(cls, values: Json) -> Fault:
        """The fault that `to_json` wrote, in this version or in version 1, whose place is one text."""
        swap = Swap(**values["swap"]) if values.get("swap") else None
        where = values.get("where") or ()
        return cls(
            **{
                **values,
                "layer": Layer(values["layer"]),
                "evidence": tuple(values["evidence"]),
                "swap": swap,
                "change": Change(**values["change"]) if values.get("change") else None,
                "where": tuple(map(Place.from_json, [where] if isinstance(where, str) else where)),
            }
        )


@dataclass(frozen=True)
class Verdict:
    """What one debug run concludes. `faults` are ranked, best first; `not_loaded` are plug-ins, a sentence each."""

    target: str
    status: VerdictStatus
    faults: tuple[Fault, ...]
    layers: tuple[LayerReport, ...]
    seconds: float
    safety: Json | None = None
    mlflow_run_id: str | None = None
    prefect_flow_run_id: str | None = None
    outcomes: tuple[Outcome, ...] = field(default=())
    subject: SubjectKind = SubjectKind.TARGET
    not_cleared: tuple[str, ...] = ()
    """Why layers in which no fault was found can't be called healthy."""
    not_loaded: tuple[str, ...] = ()

    @property
    def muted(self) -> dict[str, str]:
        """What was not judged, since the target mutes it: the reason by `check` or `check:place`."""
        return muted_in(self.layers)

    @property
    def first_faulty_layer(self) -> Layer | None:
        """The earliest layer that has a fault; None for a healthy target."""
        return min((fault.layer for fault in self.faults), key=lambda layer: layer.rank, default=None)

    def to_json(self) -> dict[str, object]:
        """The verdict as the versioned JSON that tools and CI read."""
        first = self.first_faulty_layer
        return {
            "schema_version": SCHEMA_VERSION,
            "target": self.target,
            "subject": self.subject.value,
            "status": self.status.value,
            "first_faulty_layer": first.value if first else None,
            "faults": [fault.to_json() for fault in self.faults],
            "layers": [{**report.to_json(), **_looked(report)} for report in self.layers],
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
            "not_cleared": list(self.not_cleared),
            "safety": plain(self.safety),
            "muted": self.muted,
            "not_loaded": list(self.not_loaded),
            "mlflow_run_id": self.mlflow_run_id,
            "prefect_flow_run_id": self.prefect_flow_run_id,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_json(cls, values: Json) -> Verdict:
        """The verdict that `to_json` wrote, in this version or in version 1, which held no outcomes of tests."""
        return cls(
            target=values["target"],
            status=VerdictStatus(values["status"]),
            faults=tuple(map(Fault.from_json, values["faults"])),
            layers=tuple(map(LayerReport.from_json, values["layers"])),
            seconds=values["seconds"],
            safety=values.get("safety"),
            mlflow_run_id=values.get("mlflow_run_id"),
            prefect_flow_run_id=values.get("prefect_flow_run_id"),
            outcomes=tuple(map(Outcome.from_json, values.get("outcomes", ()))),
            subject=SubjectKind(values.get("subject", SubjectKind.TARGET)),
            not_cleared=tuple(values.get("not_cleared", ())),
            not_loaded=tuple(values.get("not_loaded", ())),
        )


def _looked(report: LayerReport) -> dict[str, int]:
    covered = coverage_of(report)
    return {"checks": covered.checks, "looked": covered.looked}


def schema(version: int = SCHEMA_VERSION) -> Json:
    """The JSON schema of `Verdict.to_json`, or of what an earlier version wrote."""
    name = "verdict.schema.json" if version == SCHEMA_VERSION else f"verdict.v{version}.schema.json"
    text = resources.files("firstfault").joinpath(name).read_text()
    return json.loads(text)


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
            f"{swap.change}: {swap.metric} {_number(swap.before)} → {_number(swap.after)} over {swap.seeds} seeds"
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
) -> Verdict:
    """The verdict over all layers: faulty when a fault stands; else error when a check crashed.

    It is undecided when a check failed, or when what was looked at is too little to clear a layer.
    """
    status = _status(reports, faults)
    open_ones = not_cleared(reports, watched=subject is SubjectKind.WATCHED) if status is VerdictStatus.HEALTHY else ()
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
