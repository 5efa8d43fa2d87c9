"""The flow that evaluates how a language model behaves, on a schedule and on each new registered version."""

from __future__ import annotations

from typing import Any

from firstfault.flows.names import run_name
from firstfault.flows.states import not_passed
from firstfault.tasks.behaviour import aligned, asked, shown
from firstfault.tasks.outlet import Outlet
from prefect import flow, get_run_logger
from prefect.states import Completed, State

from firstfault.output.escaping import visible_in
from firstfault.recording.behaviour_run import BehaviourSettings, Evaluation


@flow(name="behaviour", flow_run_name=run_name, validate_parameters=True)
def behaviour(
    target: str,
    suites: list[str] | None = None,
    specification: str = "",
    runs: int = 5,
    requests: int | None = None,
    tokens: int | None = None,
) -> State[Any]:
    """Ask a language model the suites, and hold it against a specification, and return what came of it.

    Wraps `firstfault.recording.behaviour_run`. The target is `file.py:name` of a target, an LM or a function prompt ->
    text, or a registered version `models:/NAME/VERSION`; suites are names or files, by default safety, capability,
    robustness and fairness. Results: a run in the MLflow experiment `behaviour` with failure_cases.json and the PDF,
    and artifacts of this flow run for each suite. Runs weekly where its schedule is switched on, and on every event
    `firstfault.model.registered`. Locally: `firstfault behaviour SUITE… --target TARGET` and `firstfault align`.

    Ends in `Passed`; else it fails: as `Failed: <suites>`, or as `Undecided` where something could not be told.
    """
    chosen = BehaviourSettings(target, specification=specification, runs=runs, requests=requests, tokens=tokens)
    if suites:
        chosen = BehaviourSettings(target, tuple(suites), specification, runs, requests, tokens)
    evaluation, outlet = asked(chosen), Outlet()
    for name in evaluation.behaviour.runs:
        shown(evaluation, name, outlet)
    aligned(evaluation, outlet)
    for line in evaluation.behaviour.lines:
        get_run_logger().info("%s", line)
    return final_state(evaluation)


def final_state(evaluation: Evaluation) -> State[Any]:
    """The state in which a flow run ends, by what came of the evaluation."""
    values = visible_in(evaluation.to_json())
    if evaluation.failed:
        return not_passed(f"Failed: {', '.join(evaluation.failed)}", "; ".join(evaluation.why), values)
    if evaluation.open:
        return not_passed("Undecided", ", ".join(evaluation.open), values)
    return Completed(name="Passed", data=values)
