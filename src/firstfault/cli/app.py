"""The command line: the commands that judge, and how it is entered and left.

Heavy imports stay inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from firstfault.cli import cases as _cases  # noqa: F401  # adds its command to the incident's
from firstfault.cli import detect as _detect  # noqa: F401  # adds its command to the monitor's
from firstfault.cli import labelling as _labelling  # noqa: F401  # adds its command to the monitor's
from firstfault.cli.alignment import align
from firstfault.cli.behaviour import behaviour, trust
from firstfault.cli.failures import failures
from firstfault.cli.incident import incident
from firstfault.cli.logs import logs
from firstfault.cli.monitor import monitor
from firstfault.cli.options import (
    EXIT_BAD_CALL,
    EXIT_FAILED,
    EXIT_HEALTHY,
    BareOption,
    ConsentName,
    DepthName,
    FormatOption,
    JsonOption,
    MuteOption,
    OutputOption,
    SetOption,
    TargetArgument,
    exit_code,
    file_of,
    interrupted,
    may_run_again,
    mutes_of,
    pairs_of,
    refuse,
    say,
    tell_step,
    write_json,
)
from firstfault.cli.project import checks, compare, expect, init, report
from firstfault.cli.rollout import rollout
from firstfault.cli.scorers import scorers
from firstfault.cli.servers import down, status, up
from firstfault.cli.sweep import sweep
from firstfault.finding import Layer
from firstfault.runs.guard import tell

app = typer.Typer(
    name="firstfault",
    help="Name the first faulty layer of an ML system: data, preprocessing, model, training or deployment.",
    epilog=(
        "Runs, servers and their records lie in one folder: the nearest .firstfault in the working folder or above it, "
        "else a new one in the working folder. FIRSTFAULT_HOME names another."
    ),
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
    timings: Annotated[bool, typer.Option("--timings", help="show where the time went, from the call on")] = False,
) -> None:
    """Debug a target; exit 0 when it is healthy, 1 when it is faulty."""
    from firstfault.check import Depth
    from firstfault.cli.annotations import Annotations
    from firstfault.cli.console import watch_debug
    from firstfault.recording.steps import RunSettings

    if where is not None and only is not Layer.MODEL:
        refuse("--where must come with --only model, since only the model layer tests a submodule alone")
    # threads of one operation that spin while they wait for each other take the processor from the one they wait for
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    tell(json=str(json_file.absolute()) if json_file else None)
    overrides = {**pairs_of(set_), **mutes_of(mute)}
    settings = RunSettings(target, Depth(depth.value), keep_going, only, dataset, overrides, where)
    notes = Annotations(format_, output, file_of(target))
    with notes.apart():
        ended = watch_debug(settings, bare=bare, timings=timings, console=notes.terminal())
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
            help="where its numbers go while it runs; several times: json, tensorboard, mlflow, wandb, aim, clearml"
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
    rerun: Annotated[
        ConsentName,
        typer.Option(help="test suspicions by running the script again, in a copy that can change nothing of yours"),
    ] = ConsentName.ASK,
    json_file: JsonOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
) -> None:
    """Run a training script unmodified, watch it, and judge model and training; exit 0 when both are healthy."""
    from firstfault.cli.annotations import Annotations
    from firstfault.interrupts import is_interrupt
    from firstfault.progress import listening
    from firstfault.report.terminal import render_verdict
    from firstfault.watcher.script import judge_interrupted, judge_script, run_script

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
            f"{script} must train a PyTorch model in this process, but no backward pass was seen, "
            "so that there is nothing to judge"
        )
    if watched.record.stopped:
        say(f"an action ended the training at {watched.record.stopped}", err=True)
    struck = is_interrupt(watched.crash)
    if struck:
        judge_interrupted(watched)
    with notes.apart():
        with listening(tell_step):
            verdict = judge_script(watched, rerun.value, may_run_again, swaps=swaps and not struck)
        report = watched.report()
        notes.terminal().print(render_verdict(verdict))
        say(f"report {report}")
    notes.write(verdict)
    write_json(json_file, verdict.to_json())
    raise typer.Exit(
        interrupted(f"the verdict over what was seen is in {watched.folder}") if struck else exit_code(verdict)
    )


for command in (sweep, expect, behaviour, align, trust, up, down, status, init, checks, report, compare, logs):
    app.command()(command)
app.add_typer(rollout, name="rollout")
app.add_typer(monitor, name="monitor")
app.add_typer(failures, name="cases")
app.add_typer(incident, name="incident")
app.add_typer(scorers, name="scorers")


def _take_any_text() -> None:
    """Let the terminal show by their escapes what its encoding lacks, such as a file's name that is no UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line, with a guard that outlives it where user code is run, and exit."""
    from firstfault.runs.guard_process import command_of, guardable, guarded

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
