"""What is usual of one model, learned from requests, and the monitors that compare others with it."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from firstfault.monitor.assertions import Assertion
from firstfault.monitor.detect.answer_map import answer_map
from firstfault.monitor.detect.answers import Scores, scores_of
from firstfault.monitor.detect.assertions import assertions
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.dependence import Dependence, dependence
from firstfault.monitor.detect.estimated_accuracy import Calibration, TransferMonitor, calibration, estimated_accuracy
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
        healthy: references of the first healthy requests that it was learned from: the last ones may show what was
            noticed late.
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
    healthy: tuple[str, ...]

    def labelled(self, records: Sequence[Record]) -> list[Monitor]:
        """The monitors of labels, where these records have enough of them."""
        batch = Batch(records, self.schema)
        errors = label_errors(batch, self.looked_at.are_classes)
        if errors is None:
            return []
        if not self.looked_at.are_classes:
            return [errors]
        learned = self.learned or calibration(batch)
        found: list[Monitor] = [errors]
        if learned is not None:
            found.append(TransferMonitor(learned))
            estimate = None if self.learned else estimated_accuracy(batch, learned, self.margin)
            found += [] if estimate is None else [estimate]
        return found

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
    sample = batch.part(batch.uniform)
    known = dependence(sample.features, sample.schema.feature_fields, looked_at.look(sample))
    seasonal = covers(batch.times, settings.weeks)
    learned, judged = calibration(batch), judges(batch, looked_at, known)
    made: list[Callable[[], Monitor | None]] = [
        lambda: bad_events(batch, seasonal),
        lambda: marks(batch),
        lambda: scores(batch, looked_at, known, settings.shift, seasonal),
        lambda: inputs(batch, known, settings.shift),
        lambda: novelty(batch, known, looked_at),
        lambda: new_categories(batch, known, looked_at.are_classes),
        lambda: renamed_categories(batch, known),
        lambda: answer_map(batch) if looked_at.are_classes else None,
        lambda: oddity(batch),
        lambda: estimated_accuracy(batch, learned, settings.accuracy) if looked_at.are_classes else None,
        lambda: repeats(batch),
        lambda: unasked(batch),
        lambda: arms(batch),
        lambda: clocks(batch),
        lambda: resources(batch),
        lambda: assertions(batch, own),
        lambda: safeml(batch, judged, known, opens=settings.safeml),
    ]
    monitors = [monitor for make in made if (monitor := make()) is not None]
    monitors += latencies(batch, settings.slower, settings.shift, seasonal)
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
        healthy,
    )
