"""The commands that start and stop the servers of the state folder, and say what runs."""

from __future__ import annotations

from typing import Annotated

import typer

from firstfault.cli.options import LAST_PORT, say


def up(
    port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="port of the Prefect server and UI")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="port of the MLflow server and UI")] = 5000,
    if_needed: Annotated[bool, typer.Option("--if-needed", help="do nothing when it is already up")] = False,
) -> None:
    """Start a Prefect server, an MLflow server and a worker on this machine, with the deployments."""
    from firstfault.runs.login import how_to_log_in
    from firstfault.runs.processes import SERVERS, running
    from firstfault.runs.services import up as start
    from firstfault.runs.state import configure_environment, state_here

    state = state_here()
    configure_environment(state)
    known = running(state)
    if not (if_needed and set(known) >= SERVERS):
        known = start(state, port, mlflow_port, say=typer.echo)
    typer.echo(f"Prefect UI  {known['prefect'].url}\nMLflow UI   {known['mlflow'].url}\nstate       {state.home}")
    typer.echo(f"log in      {how_to_log_in(state)}")


def down() -> None:
    """Stop what `up` started, and nothing else."""
    from firstfault.runs.services import down as stop
    from firstfault.runs.state import state_here

    stopped = stop(state_here())
    names = ", ".join(service.name for service in stopped)
    typer.echo(f"stopped: {names}" if stopped else "nothing was running")


def status() -> None:
    """Say what runs, and where."""
    from firstfault.runs.login import how_to_log_in
    from firstfault.runs.processes import OWNER, running
    from firstfault.runs.services import healthy
    from firstfault.runs.state import state_here

    state = state_here()
    known = [service for service in running(state).values() if service.name != OWNER]
    say(f"state    {state.home}{'' if state.home.is_dir() else ' (nothing is there yet)'}")
    for service in known:
        health = "healthy" if healthy(service) else "not answering"
        typer.echo(f"{service.name:<8} {health:<14} {service.url or ''} (pid {service.pid})")
    typer.echo(f"log in   {how_to_log_in(state)}" if known else "nothing is running; `firstfault up` starts it")
