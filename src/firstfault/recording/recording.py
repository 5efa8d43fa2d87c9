"""What a run keeps in MLflow: a run for itself, a child for each layer and each study, and a child of that for each trial."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from firstfault import progress
from firstfault.data.digest import data_digest
from firstfault.errors import Missing, UserCodeError
from firstfault.finding import Layer, LayerReport, Status
from firstfault.output.file_names import key_of
from firstfault.output.whole_files import is_draft
from firstfault.recording.steps import FlowRun
from firstfault.report.markdown import verdict_markdown
from firstfault.runs.provenance import git_sha
from firstfault.runs.ref import RunRef
from firstfault.runs.state import State
from firstfault.subject.subject import Subject
from firstfault.tracking.checkpoints import log_checkpoint
from firstfault.tracking.links import run_url, server_url
from firstfault.tracking.runs import bury_killed
from firstfault.tracking.store import open_tracker
from firstfault.training.stages import stage_metrics
from firstfault.verdict import Verdict, VerdictStatus

logger = logging.getLogger(__name__)
LOCAL = ("trained.pt", "quarantine.csv")
"""Files that stay in the run's folder: weights are in the logged model, and quarantined rows hold raw values."""
DESCRIPTION, LONGEST = "mlflow.note.content", 5000
"""The tag that MLflow shows as a run's description, and the characters that it shows of it."""
CURVES = ("train_loss", "train_metric", "validation_loss", "validation_metric")


class Recording:
    """The MLflow run of one run of firstfault. A store that is lost on the way costs what is not yet recorded, and nothing else.

    Raises:
        PrerequisiteError: when the store doesn't answer at the start.
    """

    def __init__(self, run: RunRef, subject: Subject, kind: str, flow_run: FlowRun | None) -> None:
        self.folder, self.state, self.subject = Path(run.folder), State(Path(run.home)), subject
        self.tracker = open_tracker(self.state, subject.target.name)
        self.tracker.attempt(lambda: bury_killed(self.tracker))
        self.run_id = self.tracker.start(
            f"{kind} {self.folder.name}",
            None,
            {
                "firstfault.status": "running",
                "firstfault.depth": run.depth.value,
                "firstfault.run_folder": run.folder,
                "firstfault.git_sha": git_sha(subject.target.root) or "none",
            },
        )
        self.belongs_to(flow_run)
        self._inputs(run)

    def belongs_to(self, flow_run: FlowRun | None) -> None:
        """Say which flow run records the same."""
        if flow_run is not None:
            self.tracker.tags(
                self.run_id,
                {"firstfault.prefect_flow_run_id": flow_run.id, "firstfault.prefect_flow_run_url": flow_run.url},
            )

    @property
    def id(self) -> str | None:
        """The id of the MLflow run; None where there is none."""
        return self.run_id or None

    def url(self, run_id: str | None = None) -> str | None:
        """The page of this run, or of one below it; None when no MLflow server shows it."""
        return run_url(self.state, self.tracker, run_id or self.id)

    @property
    def place(self) -> str:
        """Where a person finds this run."""
        server = server_url(self.state, self.tracker.uri)
        kept = f"run {self.run_id}" + (
            f"; it lacks what came after the store was lost: {self.tracker.lost}" if self.tracker.lost else ""
        )
        return f"{server} ({kept})" if server else f"{self.tracker.uri} ({kept}; `firstfault up` serves it)"

    def _inputs(self, run: RunRef) -> None:
        self.tracker.params(
            self.run_id,
            {"target": run.target, "depth": run.depth, **({"where": run.where} if run.where else {}), **run.overrides},
        )
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

    def layer(self, report: LayerReport) -> str | None:
        """Record a layer's numbers and files; its page in MLflow."""
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
        """Log checkpoints as logged models of the run, and safety scores at the step of their epoch, inside the block."""
        with progress.listening(self._follow):
            yield

    def _follow(self, event: progress.Event) -> None:
        if not self.run_id or not self.tracker.alive:
            return
        if isinstance(event, progress.Checkpointed):
            self.tracker.attempt(lambda: log_checkpoint(self.tracker, self.run_id, event))
        elif isinstance(event, progress.SafetyJudged) and not event.checkpointed:
            self.tracker.metrics(self.run_id, event.scores, step=event.epoch)

    def conclude(self, verdict: Verdict) -> None:
        """Record the verdict, the curves and the files, and end the run."""
        first = verdict.first_faulty_layer
        self.tracker.tags(
            self.run_id,
            {
                "firstfault.status": verdict.status.value,
                "firstfault.first_faulty_layer": first.value if first else "none",
                "firstfault.fault": verdict.faults[0].fault if verdict.faults else "none",
                DESCRIPTION: verdict_markdown(verdict)[:LONGEST],
            },
        )
        self.tracker.metrics(
            self.run_id,
            {
                "seconds": verdict.seconds,
                "faults": len(verdict.faults),
                **{f"seconds/{report.layer.value}": report.seconds for report in verdict.layers},
            },
        )
        epochs = getattr(self.subject.made(Subject.trained), "epochs", ())
        self.tracker.series(
            self.run_id, {name: [(epoch.number, getattr(epoch, name)) for epoch in epochs] for name in CURVES}
        )
        self.tracker.files(self.run_id, [path for path in self._written() if path.name not in LOCAL])
        self.tracker.end(self.run_id, "FAILED" if verdict.status is VerdictStatus.ERROR else "FINISHED")

    def _written(self) -> list[Path]:
        """The files of the run's folder that are whole."""
        return [path for path in sorted(self.folder.iterdir()) if not is_draft(path)]

    def finish(self) -> None:
        """End the run of a sweep."""
        self.tracker.tags(self.run_id, {"firstfault.status": "finished"})
        self.tracker.files(self.run_id, self._written())
        self.tracker.end(self.run_id)

    def abandon(self, error: BaseException) -> None:
        """End a run that was interrupted or crashed; what it measured stays."""
        killed = not isinstance(error, Exception)
        self.tracker.tags(self.run_id, {"firstfault.status": "killed" if killed else "error"})
        self.tracker.files(self.run_id, sorted(self.folder.glob("layer_*.json")))
        self.tracker.end(self.run_id, "KILLED" if killed else "FAILED")


class Trials:
    """The MLflow run above the trials of one study."""

    def __init__(self, recording: Recording, name: str) -> None:
        self.tracker, self.above, self.name = recording.tracker, recording.run_id, name
        self.logged: set[tuple[Any, ...]] = set()

    def __enter__(self) -> Trials:
        self.run_id = self.tracker.start(self.name, self.above or None)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        self.tracker.end(self.run_id, status)

    def log(self, trial: Any, tags: Mapping[str, str] | None = None) -> None:
        """Log one trial as a child run."""
        self.logged.add(_key(trial))
        state = state_of(trial)
        run_id = self.tracker.start(
            f"{trial.change} · seed {trial.seed}", self.run_id, {"firstfault.trial": state, **(tags or {})}
        )
        varied = {name: value for name, value in getattr(trial, "values", {}).items() if name not in trial.params}
        self.tracker.params(
            run_id, {"factor": trial.factor, "change": trial.change, "seed": trial.seed, **trial.params, **varied}
        )
        self.tracker.metrics(run_id, {"score": trial.score, "seconds": trial.seconds})
        self.tracker.series(run_id, {"score_after_epoch": list(enumerate(getattr(trial, "epochs", ()), 1))})
        self.tracker.end(run_id, "FAILED" if state == "failed" else "FINISHED")

    def log_earlier(self, trial: Any) -> None:
        """Log a trial of the sweep that this one goes on with, so that the run that has the table has every trial."""
        if _key(trial) not in self.logged:
            self.log(trial, {"firstfault.resumed": "true"})

    def conclude(self, result: Any, headline: str, files: Sequence[Path]) -> None:
        """Log what came of a sweep."""
        self.tracker.params(self.run_id, {"mode": result.mode, "study": result.study, "metric": result.metric})
        self.tracker.tags(self.run_id, {"firstfault.best": result.best, "firstfault.headline": headline})
        self.tracker.metrics(
            self.run_id,
            {
                **{f"importance/{name}": share for name, share in result.importances.items()},
                **({"noise": result.noise} if result.noise is not None else {}),
                "best": max((row.mean for row in result.rows if row.mean is not None), default=math.nan),
            },
        )
        self.tracker.files(self.run_id, files)


def state_of(trial: Any) -> str:
    """Whether a trial is complete, failed or pruned."""
    return str(getattr(trial, "state", "complete" if math.isfinite(trial.score) else "failed"))


def _key(trial: Any) -> tuple[Any, ...]:
    return trial.factor, trial.seed, trial.seconds


def _values(report: LayerReport) -> dict[str, float]:
    return {
        f"{finding.check}/{finding.where}" if finding.where else finding.check: float(finding.value)
        for finding in report.findings
        if isinstance(finding.value, int | float)
    }
