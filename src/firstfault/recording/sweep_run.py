"""One sweep from its plan to its table: trained, recorded in MLflow, reported.

It knows no orchestrator: a flow hands in its steps.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault import progress
from firstfault.data.digest import data_digest
from firstfault.logs.run_log import RunLog
from firstfault.output.whole_files import write_json
from firstfault.recording.debug_run import links_of, open_run, told_trials
from firstfault.recording.recording import Recording
from firstfault.recording.steps import Opened, Steps, SweepPlan, Swept
from firstfault.recording.trials import Trials
from firstfault.runs import guard
from firstfault.subject.opening import Loaded, open_subject
from firstfault.subject.subject import Subject
from firstfault.values import Json
from firstfault.watcher.actions.target_monitor import train_acting

if TYPE_CHECKING:
    from firstfault.ablation.sweeps.results import SweepResult


def sweep(plan: SweepPlan, steps: Steps | None = None, loaded: Loaded | None = None) -> Swept:
    """Run the sweep of a target; its result as JSON values, and where its files are.

    Raises:
        FirstfaultError: for a bad target or plan, or a store that does not answer at the start.
    """
    with progress.in_run():
        return _sweep(SweepRun(plan, steps or Steps(), loaded))


def _sweep(run: SweepRun) -> Swept:
    try:
        run.steps.open(run.open)
        with run.log.following():
            swept = run.steps.sweep(run.sweep)
            run.recording.finish(swept.headline)
            run.log.say(logging.INFO, "swept", swept.headline)
        return swept
    except BaseException as error:
        run.abandon(error)
        run.steps.abandoned(error)
        raise


class SweepRun:
    """A sweep on its way."""

    subject: Subject
    recording: Recording
    log: RunLog

    def __init__(self, plan: SweepPlan, steps: Steps, loaded: Loaded | None) -> None:
        self.plan, self.steps, self.loaded = plan, steps, loaded

    def open(self) -> Opened:
        """Load the target, and open its run folder and its run in MLflow."""
        self.ref = open_run(self.plan.target, self.plan.overrides)
        self.subject = open_subject(self.ref, self.loaded, trainer=train_acting)
        name = self.subject.target.name
        guard.tell(folder=self.ref.folder, home=self.ref.home, target=name, doing="sweep")
        self.recording = Recording(self.ref, self.subject, "sweep", self.steps.flow_run)
        self.ref = replace(self.ref, mlflow_run_id=self.recording.id)
        self.ref.keep()
        self.log = RunLog(Path(self.ref.folder), self.subject.masked)
        self.log.opened(name, self.recording.id)
        progress.emit(progress.RunOpened(name, self.ref.folder, self.recording.id))
        return Opened(name, self.ref.folder, self.recording.url())

    def sweep(self) -> Swept:
        """Train, compare, and write what came of it."""
        from firstfault.ablation.sweeps.sweep import sweep as trained

        asked = self.plan
        with self.log.stage("training"), Trials(self.recording, "sweep") as trials:
            result = trained(
                self.subject,
                factors=asked.factors,
                grid=asked.grid,
                tune=asked.tune,
                seeds=asked.seeds,
                n_trials=asked.trials,
                engine=asked.engine,
                jobs=asked.workers,
                resume=asked.resume,
                on_trial=told_trials(trials, self.steps),
                origin=self.ref,
            )
            for trial in result.trials:
                trials.log_earlier(trial)
            return self._write(result, trials)

    def _write(self, result: SweepResult, trials: Trials) -> Swept:
        """Write the sweep's files into the run's folder, and log its numbers."""
        from firstfault.report.sweep_page import PICTURE, headline, sweep_markdown, write_sweep_report

        folder, flow_run = Path(self.ref.folder), self.steps.flow_run
        self.recording.belongs_to(flow_run)
        report = write_sweep_report(result, folder, links=links_of(self.recording, flow_run), facts=self._facts())
        picture = folder / PICTURE
        said = headline(result)
        write_json(folder / "sweep.json", {**result.to_json(), "headline": said})
        trials.conclude(result, said, [picture, report])
        values = {**result.to_json(), "report": str(report)}
        url = flow_run.url if flow_run else None
        return Swept(values, tuple(result.trial_table()), said, sweep_markdown(result), str(picture), url)

    def _facts(self) -> Json:
        from firstfault.runs.provenance import git_sha, versions

        subject = self.subject
        commit = git_sha(subject.target.root) or "outside git"
        return {"seed": subject.seed, "commit": commit, "data digest": data_digest(subject.raw.train), **versions()}

    def abandon(self, error: BaseException) -> None:
        """End the MLflow run of a sweep that was interrupted or crashed."""
        if hasattr(self, "recording"):
            self.recording.abandon(error)
