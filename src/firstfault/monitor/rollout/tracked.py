"""A rollout that has ended as a run in MLflow: its plan, rates and evidence, its conclusion, and its JSON."""

from __future__ import annotations

import dataclasses
import logging

import msgspec

from firstfault.errors import FirstfaultError
from firstfault.monitor.rollout.plan import Plan
from firstfault.monitor.rollout.standing import Standing
from firstfault.monitor.settings import Settings
from firstfault.runs.state import state_here
from firstfault.tracking.store import open_tracker

logger = logging.getLogger(__name__)
EXPERIMENT = "rollouts"


def record(standing: Standing, plan: Plan, settings: Settings) -> str:
    """Record it in the experiment `rollouts`; the run's id, or nothing where MLflow does not answer."""
    try:
        tracker = open_tracker(state_here(), EXPERIMENT)
    except FirstfaultError as error:
        logger.warning("the rollout is not recorded in MLflow: %s", error)
        return ""
    comparison = standing.comparison
    tags = {"firstfault.conclusion": str(standing.conclusion), "firstfault.ended": standing.ended}
    run = tracker.start(f"{plan.mode} {settings.model}", tags=tags)
    if not run:
        return ""
    tracker.params(run, {**dataclasses.asdict(plan), "model": settings.model})
    values = {"after": float(comparison.after), "disagreed": float(standing.disagreed)}
    for name, (ours, theirs) in comparison.rates.items():
        values |= {
            f"{arm}_{name}": rate for arm, rate in (("champion", ours), ("challenger", theirs)) if rate is not None
        }
    for each in comparison.evidence:
        values[f"e_{each.measure}_{each.claim}".replace(" ", "_")] = each.e_value
    tracker.metrics(run, values)
    tracker.text(run, "rollout.json", msgspec.json.format(msgspec.json.encode(standing)).decode())
    tracker.end(run)
    return run if tracker.alive else ""
