"""The flow that runs an ablation sweep: single changes, a grid or a tuned search, paired over seeds."""

from __future__ import annotations

from typing import Any, Literal

from firstfault.tasks.ablation import run_sweep
from firstfault.tasks.run import abandon_run, finish_run, open_run
from prefect import flow


@flow(name="sweep", flow_run_name="sweep · {target}", validate_parameters=True)
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
) -> Any:
    """Change a target over several seeds, and compare with the noise between seeds: one thing at a time, a grid, or a tuned search.

    Wraps `firstfault.ablation.sweep`, which explains the parameters. Results: one MLflow run per trial below the sweep's run,
    tables and a plot as artifacts, and report.html in the state folder. Launched from the UI (deployment `ablation-sweep`), or locally
    with `firstfault sweep TARGET`. A sweep that was killed or cancelled goes on with `resume`.
    """
    run = open_run(target, {"overrides": overrides or {}}, kind="sweep")
    settings = {"factors": factors, "grid": grid, "tune": tune, "seeds": seeds, "n_trials": trials}
    try:
        result = run_sweep(run, {**settings, "engine": engine, "jobs": workers, "resume": resume})
    except BaseException as error:
        abandon_run(run, error)
        raise
    finish_run(run)
    return result
