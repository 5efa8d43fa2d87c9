"""What the runs of a target, a sweep and an incident have in common: opened, followed by their log, ended in MLflow."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault import progress
from firstfault.check import Depth
from firstfault.logs.run_log import RunLog
from firstfault.recording.recording import Recording
from firstfault.recording.steps import Opened, Steps
from firstfault.recording.trials import Trials, state_of
from firstfault.runs import guard
from firstfault.runs.login import is_own
from firstfault.runs.ref import RunRef
from firstfault.runs.state import state_here
from firstfault.subject.subject import Subject
from firstfault.target.locate import locate

if TYPE_CHECKING:
    from firstfault.ablation.confirm.trials import Trial


class RecordedRun(abc.ABC):
    """A run on its way. What opens it sets `ref` and `subject`, and ends with `_opened`."""

    ref: RunRef
    subject: Subject
    recording: Recording
    log: RunLog
    steps: Steps

    @abc.abstractmethod
    def open(self) -> Opened:
        """Load what is examined, and open the run's folder and its run in MLflow."""

    def _opened(self, kind: str, *, later: bool = False, **doing: str) -> Opened:
        """Begin the record of the run: its run in MLflow, at once or `later`, its log, and what its guard is told."""
        name = self.subject.target.name
        progress.emit(progress.Phase("opening the run"))
        guard.tell(folder=self.ref.folder, home=self.ref.home, target=name, **doing)
        self.recording = Recording(self.ref, self.subject, kind, self.steps.flow_run, later=later)
        self.ref = replace(self.ref, mlflow_run_id=self.recording.id)
        self.ref.keep()
        self.log = RunLog(Path(self.ref.folder), self.subject.masked)
        self.log.opened(name, self.recording.id)
        progress.emit(progress.RunOpened(name, self.ref.folder, self.recording.id))
        return Opened(name, self.ref.folder, self.recording.url())

    @contextlib.contextmanager
    def followed(self) -> Iterator[None]:
        """Open the run; what ends it in the block is said to its steps, and ends its MLflow run."""
        try:
            self.steps.open(self.open)
            with self.log.following():
                yield
        except BaseException as error:
            if hasattr(self, "recording"):
                self.recording.abandon(error)
            self.steps.abandoned(error)
            raise

    def told_trials(self, trials: Trials) -> Callable[[Trial], None]:
        """A listener of trials that records each, and says so in the log of the run."""

        def told(trial: Trial) -> None:
            self.steps.say(
                f"{trial.change}, seed {trial.seed}: {state_of(trial)} {trial.score:.4f} in {trial.seconds:.1f} s"
            )
            trials.log(trial)

        return told

    def links(self) -> dict[str, str]:
        """The run's pages by title, where they last: a server of `firstfault up` has another address tomorrow."""
        state, flow_run = self.recording.state, self.steps.flow_run
        links = {"MLflow run": self.recording.url(), "Prefect flow run": flow_run.url if flow_run else None}
        lasting = {title: url for title, url in links.items() if url and not is_own(state, url)}
        served = f"firstfault: `firstfault up` in {state.home.parent} shows this run"
        return lasting if len(lasting) == len(links) else {**lasting, "Prefect and MLflow": served}


def open_run(
    target: str,
    overrides: Mapping[str, str],
    *,
    depth: Depth = Depth.STANDARD,
    dataset: str | None = None,
    where: str | None = None,
) -> RunRef:
    """A new run of a target, with its folder."""
    place = locate(target)
    state = state_here()
    return RunRef(place, str(state.new_run()), str(state.home), depth, overrides, dataset, where)
