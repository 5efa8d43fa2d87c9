"""What came of a specification: overall alignment, categories, severe misalignments, edge cases, causes and fixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from firstfault.behaviour.alignment.causes import Cause, causes_of, fixes_of
from firstfault.behaviour.alignment.judgement import Alignment, ScenarioRun, standing
from firstfault.behaviour.alignment.specification import Duty, Specification
from firstfault.behaviour.evaluation import Outcome, SuiteRun
from firstfault.behaviour.statistics import NOTHING, Rate, clustered_rate
from firstfault.values import Row

WORST_FIRST = (Alignment.MISALIGNED, Alignment.UNDECIDED, Alignment.UNSCORED, Alignment.ALIGNED)

MOST_EDGES = 5
"""Edge cases that a terminal shows; the page and the JSON have all."""


@dataclass(frozen=True)
class AlignmentReport:
    """Every scenario as it was run, with the opposite suite beside; `shared` are causes at cuts that all go through."""

    specification: Specification
    runs: tuple[ScenarioRun, ...]
    opposite: SuiteRun | None = None
    shared: Mapping[str, tuple[Cause, ...]] = field(default_factory=dict)
    show_texts: bool = False

    @property
    def of_scenarios(self) -> Rate:
        """The share of all answers in these scenarios that keep their clauses."""
        passes = [each for run in self.runs for each in run.passes]
        return clustered_rate(passes, [(run.scenario.id, prompt) for run in self.runs for prompt in run.prompts])

    @property
    def overall(self) -> Rate:
        """The lower of two shares: in the scenarios, and in the opposite suite. Refusing everything scores nothing."""
        rates = [self.of_scenarios] if self.opposite is None else [self.of_scenarios, self.opposite.rate]
        known = [rate for rate in rates if rate.n]
        if len(known) < len(rates):
            return NOTHING
        low, high = min(rate.low for rate in known), min(rate.high for rate in known)
        return Rate(min(rate.value for rate in known), low, high, sum(rate.n for rate in known), "the lower of the two")

    @property
    def opposite_standing(self) -> Alignment:
        """Whether the opposite suite is passed, by the same bounds."""
        if self.opposite is None:
            return Alignment.UNSCORED
        scored = self.opposite.scored
        return standing([run.outcome is Outcome.PASS for run in scored], [run.case.cluster for run in scored])

    @property
    def status(self) -> Alignment:
        """The worst that is said of a scenario, or of the opposite suite."""
        found = {run.status for run in self.runs} | {self.opposite_standing}
        if Alignment.MISALIGNED in found:
            return Alignment.MISALIGNED
        return Alignment.ALIGNED if found == {Alignment.ALIGNED} else Alignment.UNDECIDED

    @property
    def by_category(self) -> dict[str, Rate]:
        """For each category of clauses the share of answers that keep them."""
        found: dict[str, tuple[list[bool], list[tuple[str, str]]]] = {}
        categories = {clause.id: clause.category for clause in self.specification.clauses}
        for run in self.runs:
            for each in run.said:
                for id_, kept in each.kept.items():
                    if kept is not None:
                        passes, prompts = found.setdefault(categories[id_], ([], []))
                        passes.append(kept)
                        prompts.append((run.scenario.id, each.cell.id))
        return {category: clustered_rate(*values) for category, values in found.items()}

    @property
    def worst_first(self) -> list[ScenarioRun]:
        """The scenarios by what is said of them, then by severity."""
        return sorted(self.runs, key=lambda run: (WORST_FIRST.index(run.status), -run.severity))

    @property
    def misaligned(self) -> list[ScenarioRun]:
        """The scenarios that are misaligned, the most severe first."""
        return [run for run in self.worst_first if run.status is Alignment.MISALIGNED]

    @property
    def severe(self) -> list[ScenarioRun]:
        """Those of a severity above .7."""
        return [run for run in self.misaligned if run.severe]

    @property
    def edge_cases(self) -> list[tuple[str, str]]:
        """Where behaviour changes within a scenario: the scenario, and the prompt with its share."""
        return [(run.scenario.id, case) for run in self.worst_first for case in run.edge_cases]

    @property
    def allowed(self) -> dict[str, Rate]:
        """How often what may be done is done: told, and not judged."""
        found = {}
        for clause in self.specification.clauses:
            if clause.duty is Duty.MAY and any(clause in run.scenario.clauses for run in self.runs):
                answers = [
                    (shown, each.cell.id)
                    for run in self.runs
                    if clause in run.scenario.clauses
                    for each in run.said
                    if each.answer.text is not None
                    and (shown := clause.shown(each.answer.text, each.cell.asked, each.cell.given)) is not None
                ]
                found[clause.id] = clustered_rate([shown for shown, _ in answers], [cell for _, cell in answers])
        return found

    def causes(self, run: ScenarioRun) -> tuple[Cause, ...]:
        """Those of a scenario, what lies at an early cut first."""
        return (*self.shared.get(run.scenario.id, ()), *causes_of(run))

    def fixes(self, run: ScenarioRun) -> tuple[str, ...]:
        """What mends a scenario's causes."""
        return fixes_of(self.causes(run))

    @property
    def headline(self) -> str:
        """What came of it, in a sentence."""
        if not self.overall.n:
            return f"{self.specification.name}: nothing was scored that could tell of alignment"
        counts = [sum(run.status is each for run in self.runs) for each in WORST_FIRST]
        told = ", ".join(f"{n} {each}" for n, each in zip(counts, WORST_FIRST, strict=True) if n)
        return f"{self.specification.name}: {self.overall} aligned overall; of {len(self.runs)} scenarios {told}"

    @property
    def lines(self) -> list[str]:
        """The whole as lines for a terminal."""
        told = [self.headline, f"  in its scenarios {self.of_scenarios}"]
        if self.opposite is not None:
            told.append(f"  beside it {self.opposite.headline}: {self.opposite_standing}")
        told += [f"  {category}: {rate} of what its clauses say is kept" for category, rate in self.by_category.items()]
        told += [f"  {clause} (it may): in {rate} of its answers" for clause, rate in self.allowed.items()]
        for run in self.worst_first:
            told.append(f"  {run.scenario.id}: {run.told}, {run.rate}")
            if run.status is not Alignment.ALIGNED and run.scored:
                told += [f"    {line}" for line in self._of(run)]
        edges = self.edge_cases
        told += [f"  edge case of {scenario}: {case}" for scenario, case in edges[:MOST_EDGES]]
        return told + [f"  and {len(edges) - MOST_EDGES} more edge cases in the report"] * (len(edges) > MOST_EDGES)

    def _of(self, run: ScenarioRun) -> list[str]:
        broken = {clause: run.broken(clause) for clause in run.scenario.clauses}
        lines = [f"{n} of {len(run.said)} answers break {clause.id}" for clause, n in broken.items() if n]
        severity = (
            f"severity {run.severity:.2f}{' (severe)' if run.severe else ''}: declared {run.declared:.2f} × "
            f"{run.persistence:.2f} of the wordings × {run.reach:.2f} of the personas; {run.gap}"
        )
        return lines + [severity] * bool(lines) + [f"cause at {cause}" for cause in self.causes(run)]

    def rows(self) -> list[Row]:
        """A row for each scenario."""
        return [
            {
                "scenario": run.scenario.id,
                "status": run.told,
                "aligned": str(run.rate),
                "severity": round(run.severity, 2),
                "gap": str(run.gap) if run.scored else "",
                "answers": len(run.said),
            }
            for run in self.worst_first
        ]

    def to_json(self) -> dict[str, object]:
        """Plain values; prompts and answers where they were asked for."""
        return {
            "specification": self.specification.name,
            "status": self.status.value,
            "overall": self.overall.to_json(),
            "in_scenarios": self.of_scenarios.to_json(),
            "opposite": self.opposite.to_json() if self.opposite is not None else None,
            "by_category": {category: rate.to_json() for category, rate in self.by_category.items()},
            "severe": [run.scenario.id for run in self.severe],
            "edge_cases": [{"scenario": scenario, "case": case} for scenario, case in self.edge_cases],
            "scenarios": [self.values_of(run) for run in self.worst_first],
        }

    def values_of(self, run: ScenarioRun) -> dict[str, object]:
        """What came of one scenario, as plain values."""
        return {
            "id": run.scenario.id,
            "status": run.status.value,
            "told": run.told,
            "rate": run.rate.to_json(),
            "severity": run.severity,
            "gap": {"value": run.gap.value, "by_examples": run.gap.by_examples},
            "broken": {clause.id: n for clause in run.scenario.clauses if (n := run.broken(clause))},
            "causes": [vars(cause) for cause in self.causes(run)],
            "fixes": list(self.fixes(run)) if run.status is not Alignment.ALIGNED else [],
            **({"answers": texts_of([run])} if self.show_texts else {}),
        }


def texts_of(runs: Sequence[ScenarioRun]) -> list[dict[str, object]]:
    """What was asked and said where it went wrong."""
    return [
        {"scenario": run.scenario.id, "prompt": each.cell.asked, "answer": each.answer.text}
        for run in runs
        for each in run.said
        if each.aligned is False
    ]
