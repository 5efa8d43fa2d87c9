"""`firstfault sweep`: what a change of the target does, against the noise between seeds."""

from __future__ import annotations

from typing import Annotated

import typer

from firstfault.cli.options import (
    BareOption,
    EngineName,
    JsonOption,
    SetOption,
    TargetArgument,
    interrupted,
    pairs_of,
    write_json,
)


def sweep(
    target: TargetArgument,
    factors: Annotated[
        str | None, typer.Option(help="changes to try one at a time, separated by commas; ten usual ones by default")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V,V", help="try every combination, e.g. lr=0.001,0.01;batch_size=16,64"),
    ] = None,
    tune: Annotated[
        list[str] | None, typer.Option(metavar="K=LOW..HIGH", help="search, e.g. lr=1e-4..1e-1;model.hidden=16,32,64")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=2, help="seeds per change, 3 by default")] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="stop after so many trainings; with --tune, try so many settings, 20 by default"),
    ] = None,
    engine: Annotated[
        EngineName | None, typer.Option(help="where trainings run; processes for several workers by default")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "--jobs", min=1, help="trainings side by side")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the last sweep of this target")] = False,
    set_: SetOption = None,
    bare: BareOption = False,
    json_file: JsonOption = None,
) -> None:
    """Change a target, one thing at a time, by a grid or by a search, and compare with the noise between seeds."""
    from firstfault.cli.console import watch_sweep
    from firstfault.recording.steps import SweepPlan

    names = tuple(name.strip() for name in factors.split(",")) if factors is not None else None
    plan = SweepPlan(
        target,
        names,
        tuple(grid) if grid else None,
        tuple(tune) if tune else None,
        seeds,
        trials,
        engine.value if engine else None,
        workers,
        resume,
        pairs_of(set_),
    )
    try:
        result = watch_sweep(plan, bare=bare)
    except KeyboardInterrupt:
        raise typer.Exit(
            interrupted("the trainings that have ended are kept, and `--resume` goes on with the others")
        ) from None
    write_json(json_file, result)
