"""What is usual of one model, learned from requests, and the monitors that compare others with it."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from firstfault.monitor.assertions import Assertion
from firstfault.monitor.detect.answer_map import answer_map
from firstfault.monitor.detect.answers import Scores, scores_of
from firstfault.monitor.detect.assertions import assertions
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.dependence import Dependence, dependence, independent
from firstfault.monitor.detect.estimated_accuracy import Calibration, TransferMonitor, calibration, estimated_accuracy
from firstfault.monitor.detect.failures import Failures
from firstfault.monitor.detect.inputs import inputs
from firstfault.monitor.detect.label_errors import label_errors
from firstfault.monitor.detect.latency import latencies
from firstfault.monitor.detect.monitor import Monitor
from firstfault.monitor.detect.novelty import new_categories, novelty, renamed_categories
from firstfault.monitor.detect.oddity import oddity
from firstfault.monitor.detect.rates import bad_events, marks
from firstfault.monitor.detect.recent import shares_of
from firstfault.monitor.detect.repeats import repeats
from firstfault.monitor.detect.safeml import Judge, judges, safeml
from firstfault.monitor.detect.scores import scores
from firstfault.monitor.detect.season import covers
from firstfault.monitor.detect.settings import Detection
from firstfault.monitor.detect.table import Schema
from firstfault.monitor.detect.telemetry import arms, clocks, resources
from firstfault.monitor.detect.unasked import unasked
from firstfault.monitor.detect.unlabelled import parts_of
from firstfault.monitor.record import Outcome, Record

MOST_HEALTHY = 400
"""Requests that an incident is compared with: for shares within five in a hundred, in three hundred."""
LABEL_DRIVEN = ("label_errors", "calibration")
"""Monitors that look at labels alone: what they see may come late."""


@dataclass(frozen=True)
class Reference:
    """What is usual.

    Attributes:
        schema: the columns of the inputs.
        looked_at: what of the answers is looked at.
        known: what the answers depend on.
        learned: how sure is how right; None where no label says so.
        seasonal: whether what is usual follows the hour of the week.
        source: where it comes from, in words.
        margin: by which the estimated accuracy may be lower.
        judges: SafeML's, by class.
        monitors: of requests as they come.
        shares: of each class of answer.
        parts: the share of each part of the requests that may get no labels.
        healthy: references of the first healthy requests that it was learned from: the last ones may show what was
            noticed late.
        failures: what monitors raised, when they learned and since.
    """

    schema: Schema
    looked_at: Scores
    known: Dependence
    learned: Calibration | None
    seasonal: bool
    source: str
    margin: float
    judges: dict[str, Judge]
    monitors: tuple[Monitor, ...]
    shares: dict[str, float]
    parts: dict[str, float]
    healthy: tuple[str, ...]
    failures: Failures

    def labelled(self, records: Sequence[Record]) -> list[Monitor]:
        """The monitors of labels, where these records have enough of them."""
        batch, are_classes = Batch(records, self.schema), self.looked_at.are_classes
        errors = self.failures.spared("label_errors", lambda: label_errors(batch, are_classes))
        if errors is None:
            return []
        calibrated = self.failures.spared("calibration", lambda: self._calibrated(batch)) if are_classes else None
        return [errors, *(calibrated or [])]

    def _calibrated(self, batch: Batch) -> list[Monitor]:
        """Whether the calibration transfers; and the accuracy that it promises, where nothing was promised before."""
        learned = self.learned or calibration(batch)
        if learned is None:
            return []
        estimate = None if self.learned else estimated_accuracy(batch, learned, self.margin)
        return [TransferMonitor(learned), *([] if estimate is None else [estimate])]

    def not_seen(self) -> list[str]:
        """What can't be seen, and why."""
        told = []
        if not self.schema.fields:
            told.append("inputs can't be read: their columns are not watched")
        elif self.known.surrogate is None:
            told.append("inputs explain too little of the answers: their columns are not watched, the answers decide")
        if not self.looked_at.names:
            told.append("answers can't be read: their distribution is not watched")
        return told


def learn(
    records: Sequence[Record],
    settings: Detection,
    source: str,
    own: Sequence[Assertion] = (),
    only: Container[str] | None = None,
) -> Reference:
    """Learn what is usual from requests, in the order of time; `only` names the monitors that are to look."""
    batch = Batch(records)
    batch = Batch(records, batch.schema)
    looked_at = scores_of(batch)
    seasonal, are_classes, failures = covers(batch.times, settings.weeks), looked_at.are_classes, Failures()
    sample, fields = batch.part(batch.uniform), batch.schema.feature_fields
    known = failures.spared("inputs", lambda: dependence(sample.features, fields, looked_at.look(sample)))
    known = known or independent(fields)
    learned = failures.spared("calibration", lambda: calibration(batch))
    judged = failures.spared("safeml", lambda: judges(batch, looked_at, known)) or {}
    made: dict[str, Callable[[], Monitor | None]] = {
        "bad_events": lambda: bad_events(batch, seasonal),
        "marks": lambda: marks(batch),
        "scores": lambda: scores(batch, looked_at, known, settings.shift, seasonal),
        "inputs": lambda: inputs(batch, known, settings.shift),
        "novelty": lambda: novelty(batch, known, looked_at),
        "new_category": lambda: new_categories(batch, known, are_classes),
        "renamed_category": lambda: renamed_categories(batch, known),
        "answer_map": lambda: answer_map(batch) if are_classes else None,
        "gibberish": lambda: oddity(batch),
        "estimated_accuracy": lambda: estimated_accuracy(batch, learned, settings.accuracy) if are_classes else None,
        "repeats": lambda: repeats(batch),
        "unasked": lambda: unasked(batch),
        "arms": lambda: arms(batch),
        "clocks": lambda: clocks(batch),
        "resources": lambda: resources(batch),
        "assertions": lambda: assertions(batch, own),
        "safeml": lambda: safeml(batch, judged, known, opens=settings.safeml),
    }
    found = [failures.spared(name, make) for name, make in made.items()]
    monitors = [monitor for monitor in found if monitor is not None]
    monitors += failures.spared("latency", lambda: latencies(batch, settings.slower, settings.shift, seasonal)) or []
    chosen = tuple(monitor for monitor in monitors if only is None or monitor.name in only)
    healthy = tuple(record.raw for record in records if record.outcome is Outcome.OK)[:MOST_HEALTHY]
    return Reference(
        batch.schema,
        looked_at,
        known,
        learned,
        seasonal,
        source,
        settings.accuracy,
        judged,
        chosen,
        shares_of(batch),
        failures.spared("parts", lambda: parts_of(sample)) or {},
        healthy,
        failures,
    )
