"""The flow that compares the two arms of a rollout, by what a monitor's store has recorded of them."""

from __future__ import annotations

from typing import Any, Literal

from firstfault.flows.states import not_passed
from prefect import flow
from prefect.states import Completed, State

from firstfault.monitor.rollout.analysis import Task, look_once
from firstfault.monitor.rollout.comparison import Conclusion
from firstfault.monitor.rollout.plan import Mode, Plan
from firstfault.monitor.rollout.standing import Standing
from firstfault.monitor.rollout.tracked import record
from firstfault.monitor.settings import settings_over_kept
from firstfault.output.escaping import visible_in

NAMES = {
    Conclusion.BETTER: "Better",
    Conclusion.NO_WORSE: "No worse",
    Conclusion.WORSE: "Worse",
    Conclusion.UNDECIDED: "Undecided",
}


@flow(name="rollout", flow_run_name="rollout {mode}", validate_parameters=True)
def rollout(
    store: str = "",
    mode: Literal["shadow", "canary", "ab"] = "canary",
    share: float | None = None,
    model: str = "",
    since: float | None = None,
    alpha: float = 0.01,
    margin: float = 0.25,
    at_most: int | None = None,
    mlflow: bool = True,
) -> State[Any]:
    """Compare champion and challenger by the requests that are recorded by now, and return the comparison.

    Wraps `firstfault.monitor.rollout.analysis`. The result is also a run of the experiment `rollouts` in MLflow.
    Launched from the UI (deployment `rollout`), or locally `firstfault rollout --store DIR`, which goes on while
    requests come.

    Ends in `Better` or `No worse`; else it fails: as `Worse`, as `Sample ratio mismatch`, or as `Undecided`.

    Args:
        store: the folder of the records; `monitor` in the state folder if empty.
        mode: shadow where both arms answered each request, canary or ab where one did.
        share: of the requests, those that the challenger was given at random; none where nobody drew them.
        model: one of several in the store.
        since: requests from then on, in seconds since 1970; from the challenger's first one if none.
        alpha: the chance that equal arms are called worse, at most.
        margin: no worse is at most so much above the champion's rate, as a share of it.
        at_most: after so many requests it is undecided.
        mlflow: record the comparison in MLflow.
    """
    plan = Plan(Mode(mode), share, alpha, margin, at_most=at_most)
    settings = settings_over_kept(store)
    standing = look_once(Task(settings, plan, since, model))
    if mlflow:
        record(standing, plan, settings)
    return _final_state(standing)


def _final_state(standing: Standing) -> State[Any]:
    values, comparison = visible_in(standing.comparison.to_json()), standing.comparison
    if standing.passed:
        return Completed(name=NAMES[standing.conclusion], message=comparison.why, data=values)
    name = NAMES[standing.conclusion] if comparison.fault is None else comparison.fault.replace("_", " ").capitalize()
    return not_passed(name, comparison.why, values)
