"""What the safety debugger found: alerts, investigations, looks and the verdict, as plain values and as lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstfault.behaviour.failures.hypotheses import Hypothesis
from firstfault.verdict import Verdict
from firstfault.watcher.answer_safety import Judged, Level
from firstfault.watcher.safety_looks import Look


@dataclass(frozen=True)
class BatchScore:
    """One batch: how safe what it teaches is, and what the model itself says to its prompts; NaN of nothing scored."""

    epoch: int
    batch: int
    step: int
    loss: float
    taught: float
    said: float = math.nan


@dataclass(frozen=True)
class Anomaly:
    """Something that stands out at a step: harmful answers, a spike of the loss, or what a rule of the watch says."""

    kind: str
    epoch: int
    batch: int
    step: int
    message: str
    level: Level = Level.SAFE


@dataclass(frozen=True)
class Alert:
    """A severe anomaly, and how often such an alarm is false."""

    anomaly: Anomaly
    false_alarms: str

    def __str__(self) -> str:
        found = self.anomaly
        return f"step {found.step} (epoch {found.epoch}): {found.message}; {self.false_alarms}"


@dataclass(frozen=True)
class Investigation:
    """One anomaly looked into: its batch, the answers, kept failures that are like it, and experiments."""

    anomaly: Anomaly
    rows: tuple[int, ...]
    answers: tuple[Judged, ...]
    similar: tuple[str, ...]
    hypotheses: tuple[Hypothesis, ...]

    def to_json(self, texts: bool) -> dict[str, Any]:
        """Plain values; prompts and answers only where they were asked for."""
        shown = [
            {"level": each.level.value, "score": each.score}
            | ({"prompt": each.prompt, "answer": each.answer} if texts else {})
            for each in self.answers
        ]
        return {
            "step": self.anomaly.step,
            "epoch": self.anomaly.epoch,
            "batch": self.anomaly.batch,
            "kind": self.anomaly.kind,
            "message": self.anomaly.message,
            "rows": list(self.rows),
            "outputs": shown,
            "similar": list(self.similar),
            "hypotheses": [
                {
                    "supposed": each.supposed,
                    "experiment": each.experiment,
                    "outcome": each.outcome,
                    "measured": each.measured,
                }
                for each in self.hypotheses
            ],
        }


@dataclass(frozen=True)
class DebugReport:
    """The whole of one training.

    Attributes:
        batches: a score for each batch.
        evidence: that more answers of batches are harmful than false alarms explain: 1/alpha and more is; None where
            the monitor is not calibrated.
        stopped: why the training was ended, "" where it was not.
        page: the watch's report.
    """

    batches: tuple[BatchScore, ...]
    anomalies: tuple[Anomaly, ...]
    alerts: tuple[Alert, ...]
    investigations: tuple[Investigation, ...]
    looks: tuple[Look, ...]
    validation: tuple[float, ...]
    evidence: float | None
    stopped: str
    verdict: Verdict
    page: Path | None = None
    texts: bool = False

    @property
    def safety_scores(self) -> Mapping[int, float]:
        """The mean score of what was taught, by epoch; NaN where nothing was scored."""
        return {epoch: _mean([b.taught for b in self.batches if b.epoch == epoch]) for epoch in self._epochs}

    @property
    def _epochs(self) -> list[int]:
        return list(dict.fromkeys(each.epoch for each in self.batches))

    @property
    def lines(self) -> list[str]:
        """The whole for a terminal, without a word of prompt or answer."""
        known = {epoch: score for epoch, score in self.safety_scores.items() if math.isfinite(score)}
        scores = ", ".join(f"epoch {epoch} {score:.2f}" for epoch, score in known.items()) or "not scored"
        told = [f"{len(self.batches)} batches; safety of what they teach: {scores}"]
        told += [f"  {look}" for look in self.looks] + [f"  ALERT {alert}" for alert in self.alerts]
        for each in self.investigations:
            told.append(f"  {each.anomaly.kind} at step {each.anomaly.step}: {each.anomaly.message}")
            told += [f"    {hypothesis}" for hypothesis in each.hypotheses]
            told += [f"    like {similar}" for similar in each.similar]
        told += [f"  stopped: {self.stopped}"] if self.stopped else []
        named = ", ".join(fault.fault for fault in self.verdict.faults)
        return [*told, f"verdict: {self.verdict.status.value}" + (f": {named}" if named else "")]

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN is None."""
        return {
            "batches": [{name: _plain(value) for name, value in vars(each).items()} for each in self.batches],
            "anomalies": [{**vars(each), "level": each.level.value} for each in self.anomalies],
            "alerts": [{"message": str(each), "step": each.anomaly.step} for each in self.alerts],
            "investigations": [each.to_json(self.texts) for each in self.investigations],
            "looks": [{**vars(each), "score": _plain(each.score)} for each in self.looks],
            "validation": [_plain(each) for each in self.validation],
            "evidence": self.evidence,
            "stopped": self.stopped,
            "verdict": self.verdict.to_json(),
        }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _plain(value: float) -> float | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
