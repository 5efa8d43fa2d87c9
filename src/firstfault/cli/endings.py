"""What is said, and which exit code is given, when a run ends before its verdict: struck down, or by its own code."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstfault.cli.options import EXIT_BAD_CALL, EXIT_FAILED, EXIT_FAULTY

if TYPE_CHECKING:
    from firstfault.runs.guard_process import Told
    from firstfault.verdict import Verdict

BY_SIGNAL = 128
"""A shell's exit code for a signal is this more than its number."""
LOADING = "loading"
MEMORY = ", as when memory runs out"


def conclude(told: Told) -> int:
    """Say how a run ended that did not come to its end by itself; the exit code."""
    return struck_down(told) if told.signum is not None else ended_itself(told)


def say(sentence: str) -> None:
    """One sentence of ours on standard error."""
    sys.stderr.write(f"firstfault: {sentence}\n")
    sys.stderr.flush()


def struck_down(told: Told) -> int:
    """A signal asked for the end."""
    assert told.signum is not None
    how = "interrupted" if told.signum == signal.SIGINT else f"ended by {signal.Signals(told.signum).name}"
    say(f"{how}; {kept(told)}")
    return BY_SIGNAL + told.signum


def kept(told: Told) -> str:
    """What is left of a run, and where."""
    folder = told.values.get("folder")
    if folder is None:
        return "nothing was measured yet"
    if told.command == "sweep":
        return f"the trainings that have ended are kept, and `--resume` goes on with the others; its folder is {folder}"
    if (Path(folder) / "verdict.json").is_file():
        return f"the verdict over what was seen is in {folder}"
    if told.command == "run":
        return f"nothing could be judged; its folder is {folder}"
    return (
        f"what was measured is in {folder}"
        if list(Path(folder).glob("layer_*.json"))
        else f"nothing was measured yet; its folder is {folder}"
    )


def ended_itself(told: Told) -> int:
    """The user's code ended the process: a finding, where there is a run to say it of, and never a success.

    A script that left by `os._exit(0)` says that all is well, and nothing speaks against it; but it can't be judged
    any more, so that it is neither healthy nor faulty.
    """
    how, doing = _how(told.status), told.values.get("doing")
    target = told.values.get("target")
    if told.command == "run":
        name = target or "the script"
        sentence = f"{name} ended its process by {how} before it could be judged"
        if told.status == 0 or "folder" not in told.values:
            say(f"{sentence}; end it by its last line or by sys.exit, and what was watched is judged")
            return EXIT_FAILED
        return _faulty(told, sentence)
    if target is None or doing == LOADING or "home" not in told.values:
        say(f"the target's code ended the process by {how} while it was loaded; nothing was measured")
        return EXIT_BAD_CALL
    if told.command in ("sweep", "incident"):  # of an incident: the offline truth is gone, which is no fault of serving
        what = "sweep" if told.command == "sweep" else "diagnosis"
        say(f"the code of {target} ended the process by {how} before the {what} came to its end; {kept(told)}")
        return EXIT_FAILED
    return _faulty(
        told, f"the code of {target} ended the process by {how} while {doing} was examined, before a verdict"
    )


def _how(status: int) -> str:
    if status >= 0:
        return f"os._exit({status})"
    name = signal.Signals(-status).name
    return f"signal {-status} ({name}{MEMORY * (status == -signal.SIGKILL)})"


def _faulty(told: Told, sentence: str) -> int:
    """The verdict that the user's code did not come back, beside what was measured before."""
    from firstfault.cli.annotations import written
    from firstfault.cli.terminal import Terminal
    from firstfault.output.whole_files import write_json
    from firstfault.report.terminal import render_verdict

    folder = _folder(told)
    verdict = _verdict(told, folder, sentence)
    write_json(folder / "verdict.json", verdict.to_json())
    if (asked := told.values.get("json")) is not None:
        write_json(Path(asked), verdict.to_json(), private=False)
    report = _write_report(verdict, folder)
    name, output = told.values.get("format"), told.values.get("output")
    console = Terminal(stderr=name not in (None, "github") and output is None)
    console.print(render_verdict(verdict))
    console.print(f"report   {report or 'could not be written'}", soft_wrap=True, highlight=False, markup=False)
    if name is not None:
        written(verdict, name, Path(output) if output is not None else None, told.values.get("anchor"))
    sys.stdout.flush()
    say(f"{sentence}; what was measured is in {folder}")
    return EXIT_FAULTY


def _folder(told: Told) -> Path:
    from firstfault.runs.state import State

    folder = told.values.get("folder")
    return Path(folder) if folder else State(Path(told.values["home"])).new_run()


def _verdict(told: Told, folder: Path, sentence: str) -> Verdict:
    from firstfault.finding import Finding, Layer, LayerReport, Status
    from firstfault.place import Place
    from firstfault.standing import conclude as concluded
    from firstfault.standing import standing_faults
    from firstfault.verdict import SubjectKind

    layer = next((layer for layer in Layer if layer.value == told.values.get("doing")), Layer.TRAINING)
    earlier = [report for report in _measured(folder) if report.layer is not layer]
    finding = Finding(
        "process_ended",
        layer,
        Status.FAIL,
        sentence,
        where=Place.part(str(told.values.get("target"))),
        faults={"user_code_raises": 1.0},
        fix="let the code return, or raise an exception that says what is wrong; "
        "a process that is gone can say nothing",
    )
    report = LayerReport(layer, (finding,), 0.0)
    reports = sorted([*earlier, report], key=lambda each: each.layer.rank)
    return concluded(
        str(told.values.get("target")),
        reports,
        standing_faults(report, []),
        seconds=sum(each.seconds for each in reports),
        subject=SubjectKind.WATCHED if told.command == "run" else SubjectKind.TARGET,
    )


def _measured(folder: Path) -> list[Any]:
    from firstfault.finding import LayerReport

    reports = []
    for path in sorted(folder.glob("layer_*.json")):
        try:
            reports.append(LayerReport.from_json(json.loads(path.read_text())))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return reports


def _write_report(verdict: Verdict, folder: Path) -> Path | None:
    from firstfault.report import write_report

    try:
        return write_report(verdict, folder)
    except Exception as error:
        say(f"the report could not be written ({type(error).__name__}); verdict.json holds everything")
        return None
