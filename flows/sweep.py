"""The flow that runs an ablation sweep: one change at a time, paired over seeds."""

from __future__ import annotations

from typing import Any

from firstfault.tasks.ablation import run_sweep
from firstfault.tasks.run import abandon_run, finish_run, open_run
from prefect import flow


@flow(name="sweep", flow_run_name="sweep · {target}", validate_parameters=True)
def sweep(
    target: str,
    factors: list[str] | None = None,
    seeds: int = 3,
    trials: int | None = None,
    overrides: dict[str, str] | None = None,
) -> Any:
    """Change one thing of a target at a time, over several seeds, and compare with the noise between seeds.

    Wraps `firstfault.ablation.sweep`. Results: one MLflow run per trial below the sweep's run, and
    a table and a plot as artifacts. Launched from the UI (deployment `ablation-sweep`), or locally
    with `firstfault sweep TARGET`.
    """
    run = open_run(target, {"overrides": overrides or {}}, kind="sweep")
    try:
        result = run_sweep(run, {"factors": factors, "seeds": seeds, "n_trials": trials})
    except BaseException as error:
        abandon_run(run, error)
        raise
    finish_run(run)
    return result
