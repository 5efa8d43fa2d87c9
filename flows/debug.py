"""The flow that debugs a target: layers in order, suspicions tested, a verdict at the end."""

from __future__ import annotations

from typing import Any

from firstfault.tasks.ablation import confirm_suspicions
from firstfault.tasks.data import check_data
from firstfault.tasks.deployment import check_deployment
from firstfault.tasks.model import check_model
from firstfault.tasks.preprocessing import check_preprocessing
from firstfault.tasks.run import abandon_run, conclude_run, open_run
from firstfault.tasks.safety import check_safety
from firstfault.tasks.training import check_training
from prefect import flow
from prefect.states import Completed, Failed, State

from firstfault.check import Depth
from firstfault.escaping import visible_in
from firstfault.finding import Layer
from firstfault.session import RunRef, diagnose, open_subject
from firstfault.verdict import Verdict, VerdictStatus

TASKS = {
    Layer.DATA: check_data,
    Layer.PREPROCESSING: check_preprocessing,
    Layer.MODEL: check_model,
    Layer.TRAINING: check_training,
    Layer.DEPLOYMENT: check_deployment,
}


@flow(name="debug", flow_run_name="debug · {target}", validate_parameters=True)
def debug(
    target: str,
    depth: Depth = Depth.STANDARD,
    keep_going: bool = False,
    only: Layer | None = None,
    dataset: str | None = None,
    overrides: dict[str, str] | None = None,
    where: str | None = None,
) -> Any:
    """Debug the target that `file.py:name` or `module:name` declares, layer by layer.

    Wraps `firstfault.session.diagnose`. Results: the MLflow experiment named after the target, artifacts
    of this flow run, and verdict.json and report.html in the state folder. Runs nightly, and on
    every event `dataset.new` with `dataset` in place of the training data. Locally: `firstfault debug TARGET`.

    Ends in `Healthy`, in `Faulty: <layer>`, or in `Failed` when firstfault itself failed.
    """
    run = open_run(target, {"depth": depth, "overrides": overrides or {}, "dataset": dataset, "where": where})
    try:
        verdict = conclude_run(run, _diagnose(run, keep_going, only))
    except BaseException as error:
        abandon_run(run, error)
        raise
    return _final_state(verdict)


def _diagnose(run: RunRef, keep_going: bool, only: Layer | None) -> Verdict:
    with open_subject(run) as subject:
        return diagnose(
            subject, run.depth, keep_going=keep_going, only=only,
            examine_layer=lambda layer: TASKS[layer](run),
            confirm_report=lambda report: confirm_suspicions(run, report),
            evaluate=lambda: check_safety(run),
        )


def _final_state(verdict: Verdict) -> State[Any]:
    summary = visible_in({key: value for key, value in verdict.to_json().items() if key != "layers"})
    if verdict.status is VerdictStatus.FAULTY:
        names = ", ".join(fault.fault for fault in verdict.faults)
        return Failed(name=f"Faulty: {verdict.first_faulty_layer}", message=names, data=summary)
    if verdict.status is VerdictStatus.ERROR:
        return Failed(message="a check of firstfault crashed", data=summary)
    return Completed(name="Healthy", data=summary)
