"""The log of a run of firstfault's own: what it does, finds and concludes, and its warnings, in the run's folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from firstfault import progress
from firstfault.finding import Finding, Status
from firstfault.logs import context
from firstfault.logs.handler import JsonHandler
from firstfault.logs.limits import Limits, Rules
from firstfault.logs.line import Line
from firstfault.logs.log_file import LogFile
from firstfault.logs.masking import Mask
from firstfault.verdict import Verdict

NAME, SERVICE, SAID = "log", "firstfault", "firstfault.run"
OWN = logging.getLogger(SERVICE)
RATE = 100.0
_LEVELS = {Status.FAIL: logging.WARNING, Status.WARN: logging.WARNING, Status.ERROR: logging.ERROR}


class RunLog:
    """`log.jsonl` of a run: written while the run, or a part of it, is inside of `following()`.

    Args:
        folder: the run's, whose name is the run's id.
        mask: masks texts by what the run knows of its data.
    """

    def __init__(self, folder: Path, mask: Callable[[str], str] | None = None) -> None:
        self.run = folder.absolute().name
        self._fixed = {"run_id": self.run}
        own, others = Line(SERVICE, Mask(), self._fixed), Line(SERVICE, Mask(more=mask), self._fixed)
        self._handler = _RunHandler(LogFile(folder, NAME), own, others)

    @contextlib.contextmanager
    def following(self, stage: str | None = None) -> Iterator[None]:
        """Write what happens inside the block; an exception that leaves it is written too."""
        if stage is not None:
            self._fixed["stage"] = stage
        OWN.addHandler(self._handler)
        try:
            with context.bound(run=self.run, stage=stage), progress.listening(self._hear):
                yield
        except BaseException as error:
            if not (isinstance(error, SystemExit) and error.code in (None, 0)):
                self.say(logging.ERROR, "run_failed", f"the run ended with {type(error).__name__}", error=error)
            raise
        finally:
            OWN.removeHandler(self._handler)
            self._handler.close()
            self._tell_lost()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Let each line of the block carry the run's id and a stage, in whatever thread or task it is."""
        with context.bound(run=self.run, stage=name):
            yield

    def say(
        self,
        level: int,
        event: str,
        text: str,
        labels: Mapping[str, object] | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Write one line that no logger is told of."""
        raised = None if error is None else (type(error), error, error.__traceback__)
        record = logging.LogRecord(SAID, level, __file__, 0, text, (), raised)
        record.__dict__.update({**(labels or {}), "event": event})
        self._handler.handle(record)

    def opened(self, target: str, mlflow_run_id: str | None = None) -> None:
        """Write that the run begins."""
        labels = {"target": target, "mlflow_run_id": mlflow_run_id}
        self.say(logging.INFO, "run_opened", f"a run of {target} begins", labels)

    def concluded(self, verdict: Verdict) -> None:
        """Write what the run concludes."""
        self._fixed.pop("stage", None)
        first = verdict.first_faulty_layer
        labels = {"status": verdict.status.value, "layer": first, "faults": [fault.fault for fault in verdict.faults]}
        what = f"{verdict.target}: {verdict.status.value}"
        self.say(logging.INFO, "verdict", f"{what}, first faulty layer {first.value}" if first else what, labels)

    def _tell_lost(self) -> None:
        file = self._handler.file
        if file.lost:
            OWN.warning("%d lines of the run's log %s were lost: %s", file.lost, file.path, file.why)
            file.lost = 0

    def _hear(self, event: progress.Event) -> None:
        match event:
            case progress.LayerStarted(layer):
                self._fixed["stage"] = layer.value
                self.say(logging.INFO, "layer_started", f"{layer.value} is examined")
            case progress.Found(finding):
                self._say_finding(finding)
            case progress.LayerEnded(report):
                failed = sum(finding.status is Status.FAIL for finding in report.findings)
                text = f"{report.layer.value}: {failed} of {len(report.findings)} findings fail"
                self.say(logging.INFO, "layer_ended", text)
            case progress.Step(_, text, _):
                self.say(logging.INFO, "step", text)
            case progress.Checkpointed(path, _, step):
                self.say(logging.INFO, "checkpoint", f"the weights of step {step} are kept as {path.name}")
            case progress.SafetyJudged(epoch, scores):
                self.say(logging.INFO, "safety", f"safety was judged in epoch {epoch}", scores)

    def _say_finding(self, finding: Finding) -> None:
        level = _LEVELS.get(finding.status)
        if level is not None:
            labels = {"check": finding.check, "status": finding.status.value, "layer": finding.layer.value}
            place = {"where": str(finding.where)} if finding.where is not None else {}
            faults = {"faults": list(finding.faults)} if finding.faults else {}
            self.say(level, "finding", finding.message, {**labels, **place, **faults})


class _RunHandler(JsonHandler):
    """Stands beside the handlers that firstfault's warnings had anyway: where they had none, Python's last resort.

    What the run says itself quotes no data, or masks it; what others say is masked by what the run knows of its data.
    """

    def __init__(self, file: LogFile, own: Line, others: Line) -> None:
        super().__init__(file, others, Limits(Rules({"*": RATE}), Rules()))
        self.own = own

    def line_of(self, record: logging.LogRecord) -> Line:
        return self.own if record.name == SAID and record.exc_info is None else self.line

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        last = logging.lastResort
        alone = OWN.handlers == [self] and OWN.propagate and not logging.getLogger().handlers
        if alone and last is not None and record.levelno >= last.level and record.name != SAID:
            last.handle(record)
