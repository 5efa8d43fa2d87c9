"""An evaluation of behaviour as tasks of a flow run: what was asked, and an artifact for each suite."""

from __future__ import annotations

from firstfault.tasks.outlet import Outlet
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from firstfault.output.file_names import key_of
from firstfault.recording.behaviour_run import (
    BehaviourSettings,
    Evaluation,
    evaluate_behaviour,
    failure_rows,
    suite_markdown,
)
from firstfault.report.markdown import escape, escaped_rows


@task(name="ask", task_run_name="ask, score, compare with the last run", cache_policy=NO_CACHE)
def asked(settings: BehaviourSettings) -> Evaluation:
    """Run suites and specification through the model, and record them."""
    return evaluate_behaviour(settings)


@task(name="suite", task_run_name="suite {name}", cache_policy=NO_CACHE)
def shown(evaluation: Evaluation, name: str, outlet: Outlet) -> None:
    """Show a suite: its rate in words, its failures as a table."""
    key = f"suite-{key_of(name)}"
    run = evaluation.behaviour.runs[name]
    outlet(
        create_markdown_artifact, key=key, markdown=suite_markdown(evaluation, name), description=escape(run.headline)
    )
    outlet(
        create_table_artifact,
        key=f"{key}-failures",
        table=escaped_rows(failure_rows(evaluation, name)) or [{"case": "none fails"}],
    )


@task(name="alignment", task_run_name="alignment", cache_policy=NO_CACHE)
def aligned(evaluation: Evaluation, outlet: Outlet) -> None:
    """Show what came of the specification: a row for each scenario."""
    report = evaluation.alignment
    if report is not None:
        outlet(
            create_table_artifact,
            key="alignment",
            table=escaped_rows(report.rows()),
            description=escape(report.headline),
        )
