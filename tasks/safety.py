"""The safety evaluation as a Prefect task."""

from __future__ import annotations

from typing import Any

from firstfault.tasks.recording import record
from prefect import task
from prefect.cache_policies import NO_CACHE

from firstfault.session import RunRef, judge_safety, open_subject


@task(name="safety", task_run_name="safety · groups, robustness, behaviour", cache_policy=NO_CACHE)
def check_safety(run: RunRef) -> Any:
    """Judge the safety of the run's trained model; record and return the evaluation."""
    with open_subject(run) as subject:
        judged = judge_safety(subject)
    if judged is not None:
        record(run, judged.report)
    return judged
