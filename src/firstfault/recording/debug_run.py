"""One debug run from its target to its verdict: examined, recorded in MLflow, reported.

It knows no orchestrator: a flow hands in its steps.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from firstfault import progress
from firstfault.diagnosis import diagnose, steps_of
from firstfault.finding import Layer, LayerReport
from firstfault.ladder import Step
from firstfault.output.whole_files import write_json
from firstfault.recording.found_failures import keep_of_model
from firstfault.recording.recorded_run import RecordedRun, open_run
from firstfault.recording.steps import Ended, Examined, Opened, RunSettings, Steps
from firstfault.recording.trials import Trials
from firstfault.runs import guard
from firstfault.subject.opening import Loaded, open_subject
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, Verdict
from firstfault.watcher.actions.target_monitor import train_acting

logger = logging.getLogger(__name__)
EVENTS = "tensorboard"


def debug(settings: RunSettings, steps: Steps | None = None, loaded: Loaded | None = None) -> Ended:
    """Debug a target, which may be loaded already; the verdict, and where its files are.

    Raises:
        FirstfaultError: for a bad target, or a store that does not answer at the start.
    """
    with progress.in_run():
        return carried_out(DebugRun(settings, steps or Steps(), loaded))


def carried_out(run: DebugRun) -> Ended:
    """Open a run, walk and conclude."""
    with run.followed():
        verdict = run.walk()
        run.log.concluded(verdict)
        return run.steps.conclude(lambda: run.conclude(verdict))


class DebugRun(RecordedRun):
    """A run on its way: what each step does."""

    def __init__(self, settings: RunSettings, steps: Steps, loaded: Loaded | None = None) -> None:
        self.settings, self.steps, self.loaded = settings, steps, loaded

    def open(self) -> Opened:
        """Load the target, and open its run folder and its run in MLflow."""
        asked = self.settings
        self.ref = open_run(asked.target, asked.overrides, depth=asked.depth, dataset=asked.dataset, where=asked.where)
        self.subject = open_subject(self.ref, self.loaded, trainer=train_acting)
        return self._opened("debug", later=not self.steps.shows_pages)

    def walk(self) -> Verdict:
        """Examine the steps in their order, and conclude."""
        asked = self.settings
        steps = steps_of(self.subject, asked.depth, asked.where)
        recorded = [replace(step, examine=partial(self._examine, step)) for step in steps]
        with progress.listening(self._keep):
            return diagnose(
                self.subject,
                asked.depth,
                steps=recorded,
                confirm_report=self._confirm,
                keep_going=asked.keep_going,
                only=asked.only,
            )

    def _keep(self, event: progress.Event) -> None:
        """Write the verdict as soon as it is known, before what it does not need."""
        if isinstance(event, progress.Concluded):
            write_json(Path(self.ref.folder) / "verdict.json", event.verdict.to_json())

    def _examine(self, step: Step) -> LayerReport | None:
        guard.tell(doing=step.layer.value)
        examined = self.steps.examine(step.layer, partial(self._look, step))
        return examined.report if examined is not None else None

    def _look(self, step: Step) -> Examined | None:
        with self.recording.following_the_training(), self.log.stage(step.layer.value):
            report = step.examine()
        progress.emit(progress.Phase("recording the layers"))
        return Examined(report, self.recording.layer(report)) if report is not None else None

    def _confirm(self, report: LayerReport) -> list[Outcome]:
        from firstfault.ablation.confirm.confirm import confirm

        def work() -> list[Outcome]:
            named = f"ablation · {report.layer.value}"
            with self.log.stage(report.layer.value), Trials(self.recording, named) as trials:
                return confirm(self.subject, report, on_trial=self.told_trials(trials))

        return self.steps.confirm(report.layer, work)

    def conclude(self, verdict: Verdict) -> Ended:
        """Write verdict.json and report.html, and record them."""
        flow_run, folder = self.steps.flow_run, Path(self.ref.folder)
        progress.emit(progress.Phase("MLflow"))
        self.recording.open()
        verdict = replace(
            verdict, mlflow_run_id=self.recording.id, prefect_flow_run_id=flow_run.id if flow_run else None
        )
        self.ref = replace(self.ref, mlflow_run_id=self.recording.id)
        self.ref.keep()
        write_json(folder / "verdict.json", verdict.to_json())
        self._keep_failures(folder)
        progress.emit(progress.Phase("report"))
        self._write_events(folder)
        report = self._report(verdict, folder)
        progress.emit(progress.Phase("MLflow"))
        self.recording.belongs_to(flow_run)
        self.recording.conclude(verdict)
        return Ended(
            verdict,
            self.ref.folder,
            report,
            self.recording.report_url if report else None,
            self.recording.place,
            self.recording.url(),
            flow_run.url if flow_run else None,
        )

    def _keep_failures(self, folder: Path) -> None:
        keep_of_model(folder, self.ref.home, self.ref.target)

    def _write_events(self, folder: Path) -> None:
        """Write what was seen of the training as TensorBoard's files: no check reads them, and their import is dear."""
        from firstfault.probe.sinks.tensorboard import write_tensorboard

        trained = self.subject.made(Subject.trained)
        if trained is not None and trained.record is not None:
            write_tensorboard(folder / EVENTS, trained.record, trained.epochs)
            self.recording.shelves.put(EVENTS, Layer.TRAINING)

    def _report(self, verdict: Verdict, folder: Path) -> str | None:
        try:
            return str(self._write_report(verdict, folder, self.links()))
        except Exception as error:
            logger.warning(
                "the HTML report could not be written (%s: %s); verdict.json holds everything",
                type(error).__name__,
                error,
            )
            return None

    def _write_report(self, verdict: Verdict, folder: Path, links: Mapping[str, str]) -> Path:
        from firstfault.report import context_of, write_report
        from firstfault.report.safety_pdf import NAME as SAFETY_PDF

        self.recording.shelves.put(SAFETY_PDF, Layer.SAFETY)
        return write_report(verdict, folder, context=context_of(self.subject, links=links))
