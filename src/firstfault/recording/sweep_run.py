"""One sweep from its plan to its table: trained, recorded in MLflow, reported.

It knows no orchestrator: a flow hands in its steps.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault import progress
from firstfault.data.digest import data_digest
from firstfault.output.whole_files import write_json
from firstfault.recording.recorded_run import RecordedRun, open_run
from firstfault.recording.steps import Opened, Steps, SweepPlan, Swept
from firstfault.recording.trials import Trials
from firstfault.subject.opening import Loaded, open_subject
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
    with run.followed():
        swept = run.steps.sweep(run.sweep)
        run.recording.finish(swept.headline)
        run.log.say(logging.INFO, "swept", swept.headline)
        return swept


class SweepRun(RecordedRun):
    """A sweep on its way."""

    def __init__(self, plan: SweepPlan, steps: Steps, loaded: Loaded | None) -> None:
        self.plan, self.steps, self.loaded = plan, steps, loaded

    def open(self) -> Opened:
        """Load the target, and open its run folder and its run in MLflow."""
        self.ref = open_run(self.plan.target, self.plan.overrides)
        self.subject = open_subject(self.ref, self.loaded, trainer=train_acting)
        return self._opened("sweep", doing="sweep")

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
                on_trial=self.told_trials(trials),
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
        report = write_sweep_report(result, folder, links=self.links(), facts=self._facts())
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
