"""The figures of a store, as metrics: added up in its database, so that it doesn't matter how many processes serve."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import NamedTuple

from firstfault.monitor.counts import CONFIDENCES, LATENCIES, MILLION
from firstfault.monitor.database import Database
from firstfault.monitor.exporters.families import Bins, Family, Kind, Point
from firstfault.monitor.exporters.incident_figures import incident_families
from firstfault.monitor.overview import WORDS
from firstfault.monitor.record import STAGES, Outcome

MODELS = ("model", "version", "arm")
MOST_MODELS = 200
"""Of each there is a series: names that requests bring along must not become endless; the first ones stay."""
TOTALS = f"""SELECT model, version, arm, name, n, last FROM totals WHERE (model, version, arm) IN (
    SELECT model, version, arm FROM totals WHERE name = 'requests'
    ORDER BY since, model, version, arm LIMIT {MOST_MODELS})"""
MISSING_SECONDS = 3_600.0
"""A writer that has been silent for so long is no longer missed: its machine is gone."""
REASONS = ("sample", "control", "error", "refused", "disconnected", "slow", "unsure", "novel", "marked")
"""Why requests are kept; what never came about is there with 0, as with losses."""
DELIVERED = ("alerts", "logs", "spans")
SECONDS, CONFIDENCE = "seconds", "confidence"
Served = tuple[str, str, str]


class Totals(NamedTuple):
    """What was ever counted of each model, version and arm."""

    counts: Mapping[Served, Mapping[str, int]]
    last: Mapping[Served, int]
    """The minute of the last request."""


def families(database: Database) -> list[Family]:
    """Every metric of a store.

    Raises:
        StoreError: when its database does not answer.
    """
    totals = _totals(database)
    return [
        database_up(True),
        build_info(),
        *_traffic(totals),
        *_seeing(database, totals),
        *incident_families(database, time.time()),
    ]


def dead_families() -> list[Family]:
    """What can be told where the database does not answer."""
    return [database_up(False), build_info()]


def database_up(answers: bool) -> Family:
    """Whether the store's database answers."""
    return Family("firstfault_database_up", "Whether the store's database answers", points=(Point((), int(answers)),))


def build_info() -> Family:
    """The version of firstfault."""
    info = (Point((metadata.version("firstfault"),), 1),)
    return Family("firstfault_build_info", "The version of firstfault", labels=("version",), points=info)


def _totals(database: Database) -> Totals:
    counts: dict[Served, dict[str, int]] = {}
    last: dict[Served, int] = {}
    for model, version, arm, name, n, latest in database.rows(TOTALS):
        served = (str(model), str(version), str(arm))
        counts.setdefault(served, {})[str(name)] = int(n)
        last[served] = max(last.get(served, 0), int(latest))
    return Totals(dict(sorted(counts.items())), last)


def _traffic(totals: Totals) -> Iterator[Family]:
    """What was asked and answered."""
    yield Family(
        "firstfault_requests",
        "Requests, kept or not, by how they ended",
        Kind.COUNTER,
        labels=(*MODELS, "outcome"),
        points=tuple(
            Point((*served, outcome), n)
            for served, counts in totals.counts.items()
            for outcome, n in _outcomes(counts).items()
        ),
    )
    yield _distribution(totals, "firstfault_request_duration", "How long an answer took", SECONDS, LATENCIES)
    yield _distribution(totals, "firstfault_confidence", "How sure answers were", CONFIDENCE, CONFIDENCES)
    yield _stages(totals)
    yield Family(
        "firstfault_model_info",
        "Which models, versions and arms have ever answered",
        labels=MODELS,
        points=tuple(Point(served, 1) for served in totals.counts),
    )
    yield Family(
        "firstfault_model_last_request_timestamp",
        "The minute of the last request, since 1970",
        unit="seconds",
        labels=MODELS,
        points=tuple(Point(served, totals.last[served]) for served in totals.counts),
    )


def _outcomes(counts: Mapping[str, int]) -> dict[str, int]:
    """How many requests ended in each way; all that is counted of the good ones is what is left."""
    bad = {str(outcome): counts.get(outcome, 0) for outcome in Outcome if outcome is not Outcome.OK}
    return {str(Outcome.OK): counts.get("requests", 0) - sum(bad.values()), **bad}


def _distribution(totals: Totals, name: str, text: str, what: str, bounds: tuple[float, ...]) -> Family:
    found = []
    for served, counts in totals.counts.items():
        bins = [counts.get(f"{what}<={limit:g}", 0) for limit in bounds]
        bins.append(counts.get(f"{what}>{bounds[-1]:g}", 0))
        if any(bins):
            found.append(Bins(served, tuple(bins), counts.get(f"{what}:millionths", 0) / MILLION))
    unit = "seconds" if what == SECONDS else "ratio"
    return Family(name, text, Kind.DISTRIBUTION, unit, MODELS, bins=tuple(found), bounds=bounds)


def _stages(totals: Totals) -> Family:
    found = tuple(
        Bins((*served, stage), (counts[f"stage:{stage}"],), counts.get(f"stage:{stage}:millionths", 0) / MILLION)
        for served, counts in totals.counts.items()
        for stage in STAGES
        if f"stage:{stage}" in counts
    )
    text = "How long each stage took, where it was measured"
    return Family("firstfault_stage_duration", text, Kind.DISTRIBUTION, "seconds", (*MODELS, "stage"), bins=found)


def _seeing(database: Database, totals: Totals) -> Iterator[Family]:
    """Whether what is served is seen."""
    yield Family(
        "firstfault_requests_kept",
        "Requests that are kept, by the reason; one may have several",
        Kind.COUNTER,
        labels=(*MODELS, "reason"),
        points=tuple(
            Point((*served, reason), counts.get(f"kept:{reason}", 0))
            for served, counts in totals.counts.items()
            for reason in REASONS
        ),
    )
    yield _lost(database)
    yield from _writers(database, time.time())
    (labels,) = database.rows("SELECT COUNT(*) FROM labels")
    yield Family("firstfault_labels", "Labels that came later, and are still kept", points=(Point((), int(labels[0])),))
    undelivered = dict.fromkeys(DELIVERED, 0) | dict(database.rows("SELECT what, n FROM undelivered"))
    yield Family(
        "firstfault_undelivered",
        "Spans, logs and alerts that no receiver took",
        Kind.COUNTER,
        labels=("what",),
        points=tuple(Point((what,), n) for what, n in undelivered.items()),
    )


def _lost(database: Database) -> Family:
    """What was lost; a cause that never came about is there with 0, so that its first time is a rise."""
    lost = Counter(dict.fromkeys(WORDS, 0))
    for name, n in database.rows("SELECT name, SUM(n) FROM totals WHERE name LIKE 'lost:%' GROUP BY name"):
        lost[str(name).removeprefix("lost:")] += int(n)
    points = tuple(Point((cause,), n) for cause, n in lost.items())
    return Family(
        "firstfault_requests_lost",
        "Requests that could not be recorded",
        Kind.COUNTER,
        labels=("cause",),
        points=points,
    )


def _writers(database: Database, now: float) -> Iterator[Family]:
    beats = [
        (max(0.0, now - float(beat)), float(lag))
        for beat, lag in database.rows("SELECT time, lag FROM beats WHERE time > :since", since=now - MISSING_SECONDS)
    ]
    yield Family(
        "firstfault_writers", "Processes that write, one for each that serves", points=(Point((), len(beats)),)
    )
    yield Family(
        "firstfault_writer_lag",
        "From the end of a request until it was counted, where that took longest",
        unit="seconds",
        points=(Point((), max((lag for _, lag in beats), default=0.0)),),
    )
    yield Family(
        "firstfault_writer_silence",
        "Since the writer that has been silent for longest last said that it lives",
        unit="seconds",
        points=(Point((), max((silence for silence, _ in beats), default=0.0)),),
    )
