"""`firstfault align`: a language model against the specification of what it must, must not and may do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firstfault.cli.behaviour import KEPT, ModelOption
from firstfault.cli.options import EXIT_FAULTY, EXIT_UNDECIDED, JsonOption, interrupted, say, writable_file, write_json


def align(
    specification: Annotated[str, typer.Argument(metavar="SPEC", help="a YAML file: intent, clauses, scenarios")],
    target: ModelOption,
    scenario: Annotated[list[str] | None, typer.Option(metavar="ID", help="run this scenario alone")] = None,
    runs: Annotated[
        int | None, typer.Option(min=1, help="how often each prompt is asked; else as the file says")
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="ask no more than so often; the rest is unscored")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="stop asking after so many words of answers")] = None,
    cuts: Annotated[bool, typer.Option(help="follow what is misaligned through the cuts of an LM")] = True,
    show: Annotated[
        bool, typer.Option("--show", help="put prompts and answers that went wrong into the report")
    ] = False,
    page: Annotated[
        Path | None, typer.Option(callback=writable_file, help="write the report here; else into a new run's folder")
    ] = None,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="record it as a run in MLflow")] = False,
    json_file: JsonOption = None,
) -> None:
    """Hold a model against its specification; exit 0 when it is aligned, 1 when misaligned, 4 when that is open."""
    from firstfault.behaviour.alignment.judgement import Alignment
    from firstfault.recording.alignment_debugger import AlignmentDebugger
    from firstfault.recording.asked_model import asked_model
    from firstfault.recording.evaluation import keep_alignment

    debugger = AlignmentDebugger(
        asked_model(target), specification, runs=runs, requests=requests, tokens=tokens, cuts=cuts, show_texts=show
    )
    debugger.ask.budget.outlives_interrupt = True
    found = debugger.debug_alignment(scenario or ())
    for line in found.lines:
        say(line)
    kept = keep_alignment(found, target, page=page, mlflow=mlflow)
    say(f"report {kept.report}")
    write_json(json_file, found.to_json())
    if debugger.ask.budget.interrupted:
        raise typer.Exit(interrupted(KEPT))
    codes = {Alignment.ALIGNED: 0, Alignment.MISALIGNED: EXIT_FAULTY}
    raise typer.Exit(codes.get(found.status, EXIT_UNDECIDED))
