"""The commands about a language model's behaviour: suites with their intervals, and the trust in a score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from firstfault.cli.options import EXIT_FAULTY, EXIT_UNDECIDED, JsonOption, interrupted, refuse, say, write_json

if TYPE_CHECKING:
    from firstfault.behaviour.asking import Generate
    from firstfault.behaviour.debugger import BehaviorReport

KEPT = "what was scored before stands above"
SuitesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SUITE…",
        help="safety, capability, robustness, fairness, or files: ours, promptfoo, lm-eval, Inspect, MLflow",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="TARGET",
        help="file.py:name of a target, a Safety, an LM or a function prompt -> text; a log of Inspect",
    ),
]


def behaviour(
    suites: SuitesArgument,
    target: ModelOption,
    runs: Annotated[int, typer.Option(min=1, help="how often each case is asked; 5 tell a flaky one")] = 5,
    labels: Annotated[Path | None, typer.Option(help="a sheet with people's labels, which correct the rates")] = None,
    label_sheet: Annotated[
        Path | None, typer.Option(help="write a sheet of 60 answers a suite, to be labelled")
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="ask no more than so often; the rest is unscored")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="stop asking after so many words of answers")] = None,
    show: Annotated[
        bool, typer.Option("--show", help="show prompts and answers of failures, not their ids alone")
    ] = False,
    examine: Annotated[
        int, typer.Option(min=0, metavar="N", help="examine so many failures, and keep them: firstfault cases")
    ] = 0,
    pages: Annotated[
        Path | None, typer.Option(metavar="DIR", help="write a page for each failure that was examined")
    ] = None,
    export: Annotated[
        str | None, typer.Option(metavar="FORM=FILE", help="write the suite as promptfoo, lm-eval, inspect or mlflow")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Run suites through a language model; exit 0 when all reach their rate, 1 when one fails, 4 when it is open."""
    from firstfault.behaviour.debugger import BehaviorDebugger
    from firstfault.behaviour.formats import WRITE, write_run
    from firstfault.behaviour.history import history_in
    from firstfault.behaviour.labelling import read_sheet, write_sheet
    from firstfault.behaviour.store.failures import FailureStore
    from firstfault.recording.asked_model import asked_model
    from firstfault.recording.kept_failures import keep_failures, lines_of, reference_of, replay_kept
    from firstfault.report.failure_page import write_failure_pages
    from firstfault.runs.state import state_here

    state = state_here()
    state.make()
    model = asked_model(target)
    debugger = BehaviorDebugger(
        generate=model.generate,
        reference=reference_of(model),
        suites=suites,
        runs=runs,
        labels=read_sheet(labels) if labels else None,
        history=history_in(state.home, target),
        requests=requests,
        tokens=tokens,
        show_texts=show,
    )
    form, _, exported = (export or "").partition("=")
    if export is not None and not (form in WRITE and exported and len(debugger.suites) == 1):
        refuse(f"--export must be FORM=FILE with one suite and a form of {', '.join(WRITE)}, but got {export!r}")
    budget = debugger.ask.budget
    budget.outlives_interrupt = True
    store = FailureStore(state.home)
    replayed = replay_kept(store, target, model=model, ask=debugger.ask)
    found = debugger.comprehensive_debug(examine)
    for line in found.lines:
        say(line)
    for each in found.failures:
        say(f"  {each['outcome']:<8} {each['suite']}: {each['case']}, passed {each['passed']}, {each['symptom']}")
        if show:
            say(f"           asked {each['prompt']!r}, answered {each['answer']!r}")
    kept = keep_failures(store, found, debugger, model, target)
    for line in lines_of(kept, replayed):
        say(line)
    near = {each.case: [str(near) for near in each.near] for each in kept}
    for page in write_failure_pages(found.examined, found.runs, pages, show_texts=show, near=near) if pages else ():
        say(f"wrote {page}")
    if exported:
        write_run(next(iter(found.runs.values())), Path(exported), form)
        say(f"wrote {exported}")
    if label_sheet is not None:
        say(f"wrote {write_sheet(list(found.runs.values()), label_sheet)} answers to {label_sheet}; fill in `passes`")
    write_json(json_file, found.to_json())
    if budget.interrupted:
        raise typer.Exit(interrupted(KEPT))
    back = any(each.came_back for each in replayed) or any(each.came_back for each in kept)
    raise typer.Exit(EXIT_FAULTY if back else _code(found))


def _generate(spec: str) -> Generate:
    """The function prompt -> text that a target, a Safety or a function is, or that a log of Inspect replays."""
    from firstfault.recording.asked_model import asked_model

    return asked_model(spec).generate


def _code(found: BehaviorReport) -> int:
    runs = found.runs.values()
    if any(run.below for run in runs):
        return EXIT_FAULTY
    open_ = any(len(run.scored) < len(run.cases) for run in runs) or any(
        each.gaming_suspected for each in found.trusts.values()
    )
    return EXIT_UNDECIDED if open_ else 0


def trust(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="a shipped suite or a file, as `behaviour` takes it")],
    target: ModelOption,
    opposite: Annotated[str | None, typer.Option(metavar="SUITE", help="asks for the contrary")] = None,
    twin: Annotated[str | None, typer.Option(metavar="SUITE", help="of the same kind, and held back")] = None,
    before: Annotated[str | None, typer.Option(metavar="TARGET", help="the model before the gain")] = None,
    training: Annotated[
        Path | None, typer.Option(metavar="FILE", help="texts that it was trained on, one a line")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(metavar="CSV", help="a row for each checkpoint: this score, and another one")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="a sheet with people's labels, as `behaviour` writes it")] = None,
    log_prob: Annotated[
        str | None, typer.Option(metavar="file.py:NAME", help="a function text -> its log-probability")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Test whether a score is gamed; exit 1 when gaming is suspected by two families, 4 when nothing was tested."""
    from firstfault.behaviour.debugger import BehaviorDebugger
    from firstfault.behaviour.labelling import read_sheet
    from firstfault.behaviour.trust import trust as tested

    said = read_sheet(labels) if labels else None
    debugger = BehaviorDebugger(generate=_generate(target), suites=[suite], runs=1, labels=said)
    debugger.ask.budget.outlives_interrupt = True
    run = debugger.run_suite(debugger.suites[0])
    found = tested(
        run,
        debugger.ask,
        opposite=debugger.suite_of(opposite) if opposite else None,
        twin=debugger.suite_of(twin) if twin else None,
        before=_generate(before) if before else None,
        training=_lines(training) if training else (),
        checkpoints=_pairs(checkpoints) if checkpoints else (),
        log_prob=_generate(log_prob) if log_prob else None,  # type: ignore[arg-type]
    )
    for line in (run.headline, *found.lines, f"asked {found.asked} more prompts"):
        say(line)
    write_json(json_file, found.to_json())
    if debugger.ask.budget.interrupted:
        raise typer.Exit(interrupted(KEPT))
    raise typer.Exit(EXIT_FAULTY if found.gaming_suspected else EXIT_UNDECIDED if found.untested else 0)


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        refuse(f"there is no file {file}")
    return [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def _pairs(file: Path) -> list[tuple[float, float]]:
    rows = [line.split(",") for line in _lines(file)]
    try:
        return [(float(row[0]), float(row[1])) for row in rows[0 if _is_number(rows[0][0]) else 1 :]]
    except (ValueError, IndexError):
        refuse(f"each row of {file.name} must be two numbers: this score, and another one")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
