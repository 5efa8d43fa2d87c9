"""The flow that runs an ablation sweep: single changes, a grid or a tuned search, paired over seeds."""

from __future__ import annotations

from typing import Any, Literal

from firstfault.flows.names import run_name
from firstfault.tasks.steps import TaskSteps
from firstfault.tasks.told import TOLD, Interrupted
from prefect import flow
from prefect.states import Cancelled, State

from firstfault.recording import sweep_run
from firstfault.recording.steps import SweepPlan
from firstfault.values import Json


@flow(name="sweep", flow_run_name=run_name, validate_parameters=True)
def sweep(
    target: str,
    factors: list[str] | None = None,
    grid: list[str] | None = None,
    tune: list[str] | None = None,
    seeds: int | None = None,
    trials: int | None = None,
    engine: Literal["threads", "processes", "ray"] | None = None,
    workers: int = 1,
    resume: bool = False,
    overrides: dict[str, str] | None = None,
) -> Json | State[Any]:
    """Change a target over several seeds, and compare with the noise between seeds.

    One thing is changed at a time, or a grid is tried, or a search is tuned.

    Wraps `firstfault.recording.sweep_run.sweep`, and returns its result; `firstfault.ablation.sweeps.sweep`
    explains the parameters. Results: one MLflow run per trial below the sweep's run, tables and a plot as
    artifacts, and report.html in the state folder. Launched from the UI (deployment `ablation-sweep`), or locally
    with `firstfault sweep TARGET`. A sweep that was killed or cancelled goes on with `resume`.
    """
    steps, told = TaskSteps(), TOLD.get()
    if told is None:
        chosen = {"factors": factors, "grid": grid, "tune": tune}
        lists = {name: tuple(values) if values is not None else None for name, values in chosen.items()}
        plan = SweepPlan(
            target,
            **lists,
            seeds=seeds,
            trials=trials,
            engine=engine,
            workers=workers,
            resume=resume,
            overrides=overrides or {},
        )
        return dict(sweep_run.sweep(plan, steps).result)
    try:
        return dict(told.swept(steps).result)
    except Interrupted as error:
        return Cancelled(message=f"interrupted: {error}; `resume` goes on with it")
