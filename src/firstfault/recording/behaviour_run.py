"""One evaluation of a language model from its place to its records: suites, and a specification where there is one.

It knows no orchestrator: a flow hands in what it shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from firstfault.behaviour.alignment.judgement import Alignment
from firstfault.behaviour.alignment.report import AlignmentReport
from firstfault.behaviour.debugger import RUNS, SUITES, BehaviorDebugger, BehaviorReport
from firstfault.behaviour.history import history_in
from firstfault.behaviour.store.failures import FailureStore
from firstfault.behaviour.store.replay import Replayed
from firstfault.recording.alignment_debugger import AlignmentDebugger
from firstfault.recording.asked_model import REGISTERED, asked_model
from firstfault.recording.evaluation import Kept, keep_alignment, keep_behaviour
from firstfault.recording.kept_failures import kept_under, replay_kept
from firstfault.report.markdown import escape
from firstfault.runs.state import state_here
from firstfault.target.locate import locate
from firstfault.values import Row


@dataclass(frozen=True)
class BehaviourSettings:
    """What an evaluation is asked for, from a deployment's form to its end."""

    target: str
    suites: tuple[str, ...] = SUITES
    specification: str = ""
    runs: int = RUNS
    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """What came of it, and where it is kept."""

    behaviour: BehaviorReport
    kept: Kept
    alignment: AlignmentReport | None = None
    aligned: Kept | None = None
    replayed: tuple[Replayed, ...] = ()

    @property
    def came_back(self) -> list[Replayed]:
        """The kept failures that an earlier version passed, and this one fails."""
        return [each for each in self.replayed if each.came_back]

    @property
    def failed(self) -> list[str]:
        """The suites below their rates, and the specification where it is not kept."""
        suites = [name for name, run in self.behaviour.runs.items() if run.below]
        back = [f"{len(self.came_back)} kept failures came back"] if self.came_back else []
        return [*suites, *self._specified(Alignment.MISALIGNED), *back]

    @property
    def why(self) -> list[str]:
        """What failed, in a sentence each."""
        told = [run.headline for run in self.behaviour.runs.values() if run.below]
        told += [self.alignment.headline] if self.alignment is not None else []
        return [*told, *(f"CAME BACK: {each}" for each in self.came_back)]

    @property
    def open(self) -> list[str]:
        """What could not be told."""
        suites = [name for name, run in self.behaviour.runs.items() if len(run.scored) < len(run.cases)]
        gamed = [name for name, trust in self.behaviour.trusts.items() if trust.gaming_suspected]
        return [*dict.fromkeys([*suites, *gamed]), *self._specified(Alignment.UNDECIDED)]

    def _specified(self, status: Alignment) -> list[str]:
        """The specification's name where it came to that."""
        return [found.specification.name for found in (self.alignment,) if found is not None and found.status is status]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "failed": self.failed,
            "open": self.open,
            "folder": self.kept.folder,
            "report": self.kept.report,
            "mlflow_run_id": self.kept.mlflow_run_id,
            "mlflow_url": self.kept.mlflow_url,
            "pass_rates": self.behaviour.pass_rates,
            "alignment": self.alignment.to_json() if self.alignment is not None else None,
            "came_back": [each.failure.id for each in self.came_back],
        }


def evaluate_behaviour(settings: BehaviourSettings) -> Evaluation:
    """Ask a model the suites, and hold it against its specification; each is a run in MLflow.

    Raises:
        TargetError: when there is no such model, suite or specification.
    """
    state = state_here()
    state.make()
    place = settings.target if settings.target.startswith(REGISTERED) else locate(settings.target)
    model = asked_model(place)
    debugger = BehaviorDebugger(
        generate=model.generate,
        suites=settings.suites,
        runs=settings.runs,
        history=history_in(state.home, kept_under(place)),
        requests=settings.requests,
        tokens=settings.tokens,
        root=state.home.parent,
    )
    aligning = (
        AlignmentDebugger(
            model, settings.specification, requests=settings.requests, tokens=settings.tokens, root=state.home.parent
        )
        if settings.specification
        else None
    )
    replayed = tuple(replay_kept(FailureStore(state.home), place, model=model, ask=debugger.ask))
    found = debugger.comprehensive_debug()
    kept = keep_behaviour(found, place)
    if aligning is None:
        return Evaluation(found, kept, replayed=replayed)
    report = aligning.debug_alignment()
    return Evaluation(found, kept, report, keep_alignment(report, place, mlflow=True), replayed)


def suite_markdown(evaluation: Evaluation, name: str) -> str:
    """A suite for a Prefect artifact: its rate, what changed, the trust in it, and its failures by id."""
    report = evaluation.behaviour
    run = report.runs[name]
    told = [f"# {escape(name)}", escape(run.headline)]
    told += [escape(str(report.since[name]))] if name in report.since else []
    told += [escape(line) for line in report.trusts[name].lines] if name in report.trusts else []
    told += [f"[Run in MLflow]({evaluation.kept.mlflow_url})"] if evaluation.kept.mlflow_url else []
    return "\n\n".join(told)


def failure_rows(evaluation: Evaluation, name: str) -> list[Row]:
    """The failing cases of a suite, by id."""
    return [case for case in evaluation.behaviour.failures if case["suite"] == name]
