"""What a run keeps in MLflow: a run for itself, a child for each layer and study, a child of that for each trial."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path

from firstfault import progress
from firstfault.clock import unhindered_seconds
from firstfault.data.digest import data_digest
from firstfault.errors import Missing, MissingExtra, PrerequisiteError, UserCodeError
from firstfault.finding import Layer, LayerReport, Status
from firstfault.metrics import metric_of
from firstfault.output.file_names import key_of
from firstfault.recording.artifacts import Shelves
from firstfault.recording.steps import FlowRun
from firstfault.recording.summary import DIGITS, begun, ended, in_words, undone
from firstfault.report.markdown import verdict_markdown
from firstfault.runs import guard
from firstfault.runs.provenance import git_sha
from firstfault.runs.ref import RunRef
from firstfault.runs.state import State
from firstfault.subject.subject import Subject
from firstfault.tracking.checkpoints import log_checkpoint
from firstfault.tracking.journal import NAME as JOURNAL
from firstfault.tracking.journal import Journal, record_killed
from firstfault.tracking.links import page_of, run_url, table_of
from firstfault.tracking.runs import Tracker, bury_killed
from firstfault.tracking.store import lost_tracker, open_tracker
from firstfault.tracking.view import KIND, view_of_runs
from firstfault.training.stages import stage_metrics
from firstfault.verdict import Verdict, VerdictStatus

logger = logging.getLogger(__name__)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
DESCRIPTION, LONGEST = "mlflow.note.content", 5000
"""The tag that MLflow shows as a run's description, and the characters that it shows of it."""
PATIENCE_SECONDS = 30.0
"""A run that lasts longer, what other processes took from it left out, is recorded while it goes on."""
CURVES = ("train_loss", "train_metric", "validation_loss", "validation_metric")


class Recording:
    """The MLflow run of one run of firstfault.

    A store that is lost on the way costs what is not yet recorded, and nothing else. `later` keeps a journal until the
    store is opened: the state's own store, which is looked at, though, and can be told afterwards what was.

    Raises:
        PrerequisiteError: when the store doesn't answer at the start.
    """

    tracker: Tracker | Journal

    def __init__(
        self, run: RunRef, subject: Subject, kind: str, flow_run: FlowRun | None, *, later: bool = False
    ) -> None:
        self.folder, self.state, self.subject = Path(run.folder), State(Path(run.home)), subject
        self.begun = unhindered_seconds()
        if later and self.state.keeps_own_store:
            self.tracker = Journal(self.folder / JOURNAL, subject.target.name)
        else:
            self.tracker = self._opened()
        self.run_id = self.tracker.start(
            begun(kind),
            None,
            {
                "mlflow.source.name": run.target,
                "mlflow.source.type": "LOCAL",
                "mlflow.source.git.commit": (commit := git_sha(subject.target.root)),
                "firstfault.status": "running",
                "firstfault.depth": run.depth.value,
                "firstfault.run_folder": run.folder,
                "firstfault.git_sha": commit or "none",
            },
        )
        self.shelves = Shelves(self.folder)
        self.belongs_to(flow_run)
        self._inputs(run)

    def _opened(self) -> Tracker:
        """The store, in which runs that were killed have ended; none without MLflow, where nobody named a store."""
        try:
            tracker = open_tracker(self.state, self.subject.target.name)
        except MissingExtra as lacking:
            if not self.state.keeps_own_store:
                raise
            return lost_tracker(self.state, str(lacking))
        tracker.attempt(lambda: bury_killed(tracker))
        tracker.attempt(lambda: record_killed(self.state))
        return tracker

    def open(self) -> None:
        """Open the store, if that has not been done, and tell it what the journal holds."""
        if not isinstance(journal := self.tracker, Journal):
            return
        try:
            self.tracker = self._opened()
        except PrerequisiteError as error:
            logger.warning("%s; this run is in %s alone", error, self.folder)
            self.tracker = lost_tracker(self.state, str(error))
        self.run_id = journal.open(self.tracker, self.run_id)

    def open_when_late(self) -> None:
        """Open the store in a run that lasts: it may be looked at, or be killed, long before its end."""
        if unhindered_seconds() - self.begun > PATIENCE_SECONDS:
            self.open()

    def belongs_to(self, flow_run: FlowRun | None) -> None:
        """Say which flow run records the same."""
        if flow_run is not None:
            self.tracker.tags(self.run_id, {"firstfault.prefect_flow_run_id": flow_run.id})

    @property
    def id(self) -> str | None:
        """The id of the MLflow run; None where there is none, or not yet."""
        return self.run_id if isinstance(self.tracker, Tracker) and self.run_id else None

    def url(self, run_id: str | None = None) -> str | None:
        """The page of this run, or of one below it; None when no MLflow server shows it."""
        return run_url(self.state, self.tracker, run_id or self.id) if isinstance(self.tracker, Tracker) else None

    @property
    def report_url(self) -> str | None:
        """The page that shows the report; None when no MLflow server shows it."""
        return run_url(self.state, self._store, self.id, "report.html")

    @property
    def _store(self) -> Tracker:
        """The store, opened by now."""
        self.open()
        assert isinstance(self.tracker, Tracker)
        return self.tracker

    @property
    def place(self) -> str:
        """Where a person finds this run."""
        store = self._store
        if not self.run_id:
            return f"not recorded: {store.lost}"
        lacks = f"; it lacks what came after the store was lost: {store.lost}" if store.lost else ""
        if (page := self.url()) is not None:
            return f"{page}{lacks}"
        return f"{store.uri} (run {self.run_id}{lacks}; `firstfault up` serves it)"

    def _inputs(self, run: RunRef) -> None:
        self.tracker.params(
            self.run_id,
            {
                "target": run.target,
                "depth": run.depth,
                "metric": self.metric,
                **({"where": run.where} if run.where else {}),
                **run.overrides,
            },
        )
        self.tracker.of_experiment({**KIND, **view_of_runs(self.metric, time.time())})
        try:
            splits = self.subject.raw
        except (Missing, UserCodeError):
            return
        digest = data_digest(splits.train)
        self.tracker.tags(self.run_id, {"firstfault.data_digest": digest})
        data = self.subject.target.data
        source = data.train if data is not None else None
        uri = str(source) if isinstance(source, str | Path) else type(source).__name__
        for name, split in splits.items():
            self.tracker.dataset(self.run_id, f"{self.subject.target.name}-{name}", digest, uri, len(split.y), name)

    @property
    def metric(self) -> str:
        """The name of the target's metric."""
        training = self.subject.target.training
        return metric_of(self.subject.target.task, training.metric if training is not None else None)[0]

    def layer(self, report: LayerReport) -> str | None:
        """Record a layer's numbers and files; its page in MLflow."""
        self.open_when_late()
        self.shelves.fill(report)
        run_id = (
            self.tracker.start(report.layer.value, self.run_id, {"firstfault.status": report.status.value})
            if self.run_id
            else ""
        )
        if not run_id:
            return None
        counts = {f"findings/{status.value}": sum(f.status is status for f in report.findings) for status in Status}
        self.tracker.metrics(run_id, {"seconds": report.seconds, **counts, **_values(report), **self._stages(report)})
        names = {name for finding in report.findings for name in finding.artifacts}
        own = sorted(self.folder.glob(f"layer_*_{report.layer.value}.json"))
        self.tracker.files(run_id, [*own, *(self.folder / name for name in sorted(names))])
        self.tracker.end(run_id)
        if report.layer is Layer.DEPLOYMENT and (package := self.folder / "package").is_dir():
            self.tracker.model(self.run_id, key_of(self.subject.target.name), package)
        return self.url(run_id)

    def _stages(self, report: LayerReport) -> dict[str, float]:
        """The statistics of every preprocessing stage and split."""
        written = any("stages.json" in finding.artifacts for finding in report.findings)
        return stage_metrics(json.loads((self.folder / "stages.json").read_text())) if written else {}

    @contextlib.contextmanager
    def following_the_training(self) -> Iterator[None]:
        """Log checkpoints as logged models, and safety scores at the step of their epoch, inside the block."""
        with progress.listening(self._follow):
            yield

    def _follow(self, event: progress.Event) -> None:
        self.open_when_late()
        if isinstance(event, progress.Checkpointed):
            store = self._store
            store.attempt(lambda: log_checkpoint(store, self.run_id, event))
        elif isinstance(event, progress.SafetyJudged) and not event.checkpointed:
            self.tracker.metrics(self.run_id, event.scores, event.epoch)

    def conclude(self, verdict: Verdict) -> None:
        """Record the verdict, the curves and the files, and end the run."""
        self.open()
        self.tracker.tags(
            self.run_id,
            {"firstfault.status": verdict.status.value, **in_words(verdict), DESCRIPTION: self._description(verdict)},
        )
        self.tracker.metrics(
            self.run_id,
            {
                **undone(verdict, self.metric),
                "seconds": verdict.seconds,
                "faults": len(verdict.faults),
                **{f"seconds/{report.layer.value}": report.seconds for report in verdict.layers},
            },
        )
        epochs = getattr(self.subject.made(Subject.trained), "epochs", ())
        self.tracker.series(
            self.run_id, {name: [(epoch.number, getattr(epoch, name)) for epoch in epochs] for name in CURVES}
        )
        if epochs:
            self.tracker.metrics(self.run_id, {self.metric: round(epochs[-1].validation_metric, DIGITS)})
        self.tracker.rename(self.run_id, ended(verdict))
        self._keep_files()
        self.tracker.end(self.run_id, "FAILED" if verdict.status is VerdictStatus.ERROR else "FINISHED")

    def _description(self, verdict: Verdict) -> str:
        """The verdict in markdown, below links that lead to report and table on whatever server shows them."""
        report = page_of(self._store, self.run_id, "report.html")
        links = f"[Report]({report}) · [all verdicts on this target]({table_of(self._store)})"
        # MLflow lays the lines of a long heading over each other
        in_bold = HEADING.sub(r"**\1**", verdict_markdown(verdict))
        return f"{links}\n\n{in_bold}"[:LONGEST]

    def _keep_files(self) -> None:
        """Log the files of the run's folder: the report, whose links lead to the others, and these by layer."""
        for place, paths in self.shelves.sorted().items():
            for path in paths:
                if path.name == "report.html":
                    self.tracker.text(
                        self.run_id, path.name, self.shelves.readdressed(path.read_text(encoding="utf-8"))
                    )
            self.tracker.files(self.run_id, [path for path in paths if path.name != "report.html"], place)

    def finish(self, headline: str) -> None:
        """End the run of a sweep."""
        self.tracker.tags(self.run_id, {"firstfault.status": "finished"})
        self.tracker.rename(self.run_id, f"sweep: {headline}")
        self._keep_files()
        self.tracker.end(self.run_id)

    def abandon(self, error: BaseException) -> None:
        """End a run that was interrupted or crashed; what it measured stays.

        After a signal a journal is left to the next run: the time that is left is too short to open a store.
        """
        killed = guard.was_struck() or not isinstance(error, Exception)
        if not killed:
            self.open()
        self.tracker.tags(self.run_id, {"firstfault.status": "killed" if killed else "error"})
        self.tracker.files(self.run_id, sorted(self.folder.glob("layer_*.json")))
        self.tracker.end(self.run_id, "KILLED" if killed else "FAILED")


def _values(report: LayerReport) -> dict[str, float]:
    return {
        f"{finding.check}/{finding.where}" if finding.where else finding.check: float(finding.value)
        for finding in report.findings
        if isinstance(finding.value, int | float)
    }
