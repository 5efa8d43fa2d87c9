"""The flow that debugs a target: layers in order, suspicions tested, a verdict at the end."""

from __future__ import annotations

from typing import Any

from firstfault.flows.names import run_name
from firstfault.flows.states import not_passed
from firstfault.tasks.steps import TaskSteps
from firstfault.tasks.told import TOLD, Interrupted
from prefect import flow
from prefect.states import Cancelled, Completed, State

from firstfault.check import Depth
from firstfault.finding import Layer
from firstfault.output.escaping import visible_in
from firstfault.recording import debug_run
from firstfault.recording.steps import Ended, RunSettings
from firstfault.report.formatting import undecided
from firstfault.verdict import VerdictStatus


@flow(name="debug", flow_run_name=run_name, validate_parameters=True)
def debug(
    target: str,
    depth: Depth = Depth.STANDARD,
    keep_going: bool = False,
    only: Layer | None = None,
    dataset: str | None = None,
    overrides: dict[str, str] | None = None,
    where: str | None = None,
) -> State[Any]:
    """Debug the target that `file.py:name` or `module:name` declares, layer by layer.

    Wraps `firstfault.recording.debug_run.debug`, and returns its verdict and the place of its files. Results: the
    MLflow experiment named after the target, artifacts of this flow run, and verdict.json and report.html in the
    state folder. Runs nightly, and on every event `dataset.new` with `dataset` in place of the training data.
    Locally: `firstfault debug TARGET`, which does the work in a process of its own
    (`firstfault.recording.flow_run`) and has this flow record it.

    Ends in `Healthy`, in `Faulty: <layer>`, in `Undecided` where a failed check could be neither proven nor refuted, in
    `Cancelled` when it was interrupted, or in `Failed` when firstfault itself failed.
    """
    steps, told = TaskSteps(), TOLD.get()
    if told is None:
        return final_state(
            debug_run.debug(RunSettings(target, depth, keep_going, only, dataset, overrides or {}, where), steps)
        )
    try:
        return final_state(told.debugged(steps))
    except Interrupted as error:
        return Cancelled(message=f"interrupted: {error}")


def final_state(ended: Ended) -> State[Any]:
    """The state in which a flow run ends whose verdict is known."""
    verdict, values = ended.verdict, visible_in(ended.to_json())
    if verdict.status is VerdictStatus.FAULTY:
        names = ", ".join(fault.fault for fault in verdict.faults)
        return not_passed(f"Faulty: {verdict.first_faulty_layer}", names, values)
    if verdict.status is VerdictStatus.UNDECIDED:
        names = ", ".join(dict.fromkeys(finding.check for finding in undecided(verdict)))
        return not_passed("Undecided", names or "; ".join(verdict.not_cleared), values)
    if verdict.status is VerdictStatus.ERROR:
        return not_passed("Failed", "a check of firstfault crashed", values)
    return Completed(name="Healthy", data=values)
