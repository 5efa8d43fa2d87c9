"""The command line: parses, calls flows, and renders what happens.

Heavy imports stay inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from firstfault.cli.options import (
    EXIT_BAD_CALL,
    EXIT_FAILED,
    EXIT_FAULTY,
    EXIT_HEALTHY,
    LAST_PORT,
    BareOption,
    DepthName,
    EngineName,
    FormatOption,
    JsonOption,
    MuteOption,
    OutputOption,
    SetOption,
    TargetArgument,
    exit_code,
    file_of,
    interrupted,
    mutes_of,
    pairs_of,
    refuse,
    say,
    write_json,
)
from firstfault.finding import Layer
from firstfault.output.whole_files import write_text
from firstfault.runs.guard import tell

app = typer.Typer(
    name="firstfault",
    help="Name the first faulty layer of an ML system: data, preprocessing, model, training or deployment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def debug(
    target: TargetArgument,
    depth: Annotated[
        DepthName, typer.Option(help="quick, standard (≤ 3 trainings) or deep (≤ 20)")
    ] = DepthName.STANDARD,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="go on after the first faulty layer")] = False,
    only: Annotated[Layer | None, typer.Option(help="examine one layer only")] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="MODULE", help="with --only model: this submodule alone, e.g. encoder.layers.0"),
    ] = None,
    set_: SetOption = None,
    mute: MuteOption = None,
    dataset: Annotated[str | None, typer.Option(help="train on this data set in place of data.train")] = None,
    bare: BareOption = False,
    json_file: JsonOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    open_: Annotated[bool, typer.Option("--open", help="open the report in a browser")] = False,
) -> None:
    """Debug a target; exit 0 when it is healthy, 1 when it is faulty."""
    from firstfault.check import Depth
    from firstfault.cli.annotations import Annotations
    from firstfault.cli.console import watch_debug
    from firstfault.recording.steps import RunSettings

    if where is not None and only is not Layer.MODEL:
        refuse("--where must come with --only model, since only the model layer tests a submodule alone")
    tell(json=str(json_file.absolute()) if json_file else None)
    overrides = {**pairs_of(set_), **mutes_of(mute)}
    settings = RunSettings(target, Depth(depth.value), keep_going, only, dataset, overrides, where)
    notes = Annotations(format_, output, file_of(target))
    with notes.apart():
        ended = watch_debug(settings, bare=bare, console=notes.terminal())
    notes.write(ended.verdict)
    write_json(json_file, ended.verdict.to_json())
    if open_ and ended.report:
        typer.launch(ended.report)
    raise typer.Exit(exit_code(ended.verdict))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
)
def run(
    context: typer.Context,
    script: Annotated[str, typer.Argument(metavar="SCRIPT", help="a training script, followed by its own arguments")],
    module: Annotated[bool, typer.Option("-m", help="SCRIPT names a module")] = False,
    every: Annotated[
        int | None,
        typer.Option(min=1, help="take norms and activations on every such step; else it grows from 10 to 50"),
    ] = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            help="send the numbers there while it runs: json, tensorboard, mlflow, wandb, or an installed one"
        ),
    ] = None,
    on_finding: Annotated[
        str | None,
        typer.Option(
            "--on-finding",
            metavar="ACTIONS",
            help="what to do while it runs: log, alert, checkpoint, stop; separated by commas",
        ),
    ] = None,
    safety: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET",
            help="evaluate this safety while it runs: file.py:name of a Safety, or of a target with one",
        ),
    ] = None,
    swaps: Annotated[bool, typer.Option(help="test suspicions on a replay of the captured batches")] = True,
    json_file: JsonOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Run a training script unmodified, watch it, and judge model and training; exit 0 when they are healthy, 1 when not."""
    from firstfault.cli.annotations import Annotations
    from firstfault.interrupts import is_interrupt
    from firstfault.report.terminal import render_verdict
    from firstfault.watcher.script import judge_interrupted, run_script

    tell(json=str(json_file.absolute()) if json_file else None)
    notes = Annotations(format_, output, None if module else script)
    with notes.apart():
        watched = run_script(
            script,
            context.args,
            module=module,
            every=every,
            sinks=sink or [],
            on_finding=on_finding or "",
            safety=safety,
        )
    if watched.crash is None and not watched.record.backwards:
        refuse(
            f"{script} must train a PyTorch model in this process, but no backward pass was seen, so that there is nothing to judge"
        )
    if watched.record.stopped:
        say(f"an action ended the training at {watched.record.stopped}", err=True)
    struck = is_interrupt(watched.crash)
    if struck:
        judge_interrupted(watched)
    with notes.apart():
        verdict = watched.verdict(swaps=swaps and not struck)
        report = watched.report()
        notes.terminal().print(render_verdict(verdict))
        say(f"report {report}")
    notes.write(verdict)
    write_json(json_file, verdict.to_json())
    raise typer.Exit(
        interrupted(f"the verdict over what was seen is in {watched.folder}") if struck else exit_code(verdict)
    )


@app.command()
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


@app.command()
def expect(
    target: TargetArgument,
    accept: Annotated[bool, typer.Option("--accept", help="approve the changes: write them to the file")] = False,
    set_: SetOption = None,
) -> None:
    """Write the expectations that the data suggest, or show what changed; exit 1 when changes await approval."""
    from firstfault.data.expectations.approval import propose
    from firstfault.target.loader import load_target
    from firstfault.target.locate import locate

    proposal = propose(load_target(locate(target), pairs_of(set_)))
    count = len(proposal.suite["expectations"])
    if proposal.new:
        proposal.write()
        say(f"wrote {count} expectations to {proposal.path}; review them, then set data.expectations to that file")
        return
    for change in proposal.changes:
        say(change)
    if not proposal.changes:
        say(f"{proposal.path} is what the data suggest: {count} expectations")
    elif accept:
        proposal.write()
        say(f"accepted {len(proposal.changes)} changes in {proposal.path}")
    else:
        say(f"{len(proposal.changes)} changes against {proposal.path}; `--accept` approves them")
        raise typer.Exit(EXIT_FAULTY)


@app.command()
def up(
    port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="port of the Prefect server and UI")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=LAST_PORT, help="port of the MLflow server and UI")] = 5000,
    if_needed: Annotated[bool, typer.Option("--if-needed", help="do nothing when it is already up")] = False,
) -> None:
    """Start a Prefect server, an MLflow server and a worker on this machine, with the deployments."""
    from firstfault.runs.login import how_to_log_in
    from firstfault.runs.processes import SERVERS, running
    from firstfault.runs.services import up as start
    from firstfault.runs.state import configure_environment

    state = _state_here()
    configure_environment(state)
    known = running(state)
    if not (if_needed and set(known) >= SERVERS):
        known = start(state, port, mlflow_port, say=typer.echo)
    typer.echo(f"Prefect UI  {known['prefect'].url}\nMLflow UI   {known['mlflow'].url}\nstate       {state.home}")
    typer.echo(f"log in      {how_to_log_in(state)}")


@app.command()
def down() -> None:
    """Stop what `up` started, and nothing else."""
    from firstfault.runs.services import down as stop

    stopped = stop(_state_here())
    names = ", ".join(service.name for service in stopped)
    typer.echo(f"stopped: {names}" if stopped else "nothing was running")


@app.command()
def status() -> None:
    """Say what runs, and where."""
    from firstfault.runs.login import how_to_log_in
    from firstfault.runs.processes import OWNER, running
    from firstfault.runs.services import healthy

    state = _state_here()
    known = [service for service in running(state).values() if service.name != OWNER]
    for service in known:
        health = "healthy" if healthy(service) else "not answering"
        typer.echo(f"{service.name:<8} {health:<14} {service.url or ''} (pid {service.pid})")
    typer.echo(f"log in   {how_to_log_in(state)}" if known else "nothing is running; `firstfault up` starts it")


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="where to write target.py")]) -> None:
    """Write a small working target with comments."""
    from importlib import resources

    file = folder / "target.py"
    if file.exists():
        refuse(f"{file} must not exist yet, but it does; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(
            file,
            resources.files("firstfault.target").joinpath("starter.py.txt").read_text(encoding="utf-8"),
            private=False,
        )
    except OSError as error:
        refuse(f"{folder} must be a folder that can be written, but: {error.strerror}")
    say(f"wrote {file}; next: firstfault debug {file}")


@app.command()
def checks(name: Annotated[str | None, typer.Argument(help="explain this check")] = None) -> None:
    """List the checks, or explain one with its thresholds and sources."""
    from firstfault.checks.catalogue import explain, listing

    text = listing() if name is None else explain(name)
    if text is None:
        refuse(f"there is no check {name!r}; `firstfault checks` lists them")
    typer.echo(text)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="a run's folder, its name, or `last`")] = "last",
    open_: Annotated[bool, typer.Option("--open", help="open it in a browser")] = False,
) -> None:
    """Say where a run's report is, with its verdict."""
    from firstfault.runs.folders import headline, named, report_of

    folder = named(run, _state_here().runs)
    file = report_of(folder)
    say(f"{headline(folder)}\n{file}")
    if open_:
        typer.launch(str(file))


def _state_here() -> Any:
    from firstfault.runs.state import state_for

    return state_for(Path.cwd())


def _take_any_text() -> None:
    """Let the terminal show by their escapes what its encoding lacks, such as a file's name that is no UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line, with a guard that outlives it where user code is run, and exit."""
    from firstfault.runs.guard import command_of, guardable, guarded

    arguments = sys.argv[1:]
    if guardable(arguments):
        from firstfault.cli.endings import conclude

        sys.exit(guarded(command_line, command_of(arguments), conclude))
    sys.exit(command_line())


def command_line() -> int:
    """Run the command line in this process, and give its exit code; known errors become one sentence."""
    from firstfault.errors import FirstfaultError, told
    from firstfault.extras import missing_extra

    _take_any_text()
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else EXIT_HEALTHY if ended.code is None else EXIT_FAILED
    except FirstfaultError as error:
        say(f"firstfault: {error}", err=True)
        return EXIT_BAD_CALL
    except KeyboardInterrupt:
        return interrupted("what was measured is in the run's folder")
    except BaseException as error:
        if (lacking := missing_extra(error, "this command")) is not None:
            say(f"firstfault: {lacking}", err=True)
            return EXIT_BAD_CALL
        if "FIRSTFAULT_TRACEBACK" in os.environ:
            raise
        say(f"firstfault: it failed itself: {told(error)} (FIRSTFAULT_TRACEBACK=1 shows where)", err=True)
        return EXIT_FAILED
    return EXIT_HEALTHY


if __name__ == "__main__":
    main()
