"""A training script of the user's, run unmodified under the watch, and judged at its end."""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.errors import TargetError
from firstfault.runs import guard
from firstfault.texts import shown

if TYPE_CHECKING:
    from firstfault.target.declaration import Safety
    from firstfault.verdict import Verdict
    from firstfault.watcher.rerun.proof import Cost
    from firstfault.watcher.watch import Watch

_judging = threading.Lock()


def run_script(
    script: str,
    arguments: Sequence[str],
    *,
    module: bool = False,
    every: int | None = None,
    sinks: Sequence[str] = (),
    on_finding: str = "",
    safety: str | None = None,
) -> Watch:
    """Run a script (or with `module` a module) as `python script.py arguments…` would, and watch it.

    Its exceptions are printed as Python prints them, and kept as the watch's `crash`; so is an interruption.
    `on_finding` names the actions on findings, with commas; where one stops the training, the script ends there.
    `safety` names what to evaluate on the way, as `file.py:name` of a Safety or of a target with one.

    Raises:
        TargetError: when there is no such script, sink, action or safety, or a suite of it can't be read.
    """
    from firstfault.probe.sinks.registry import sinks_named
    from firstfault.runs.state import state_here
    from firstfault.watcher.actions.named import actions_named
    from firstfault.watcher.rerun.arm import Script
    from firstfault.watcher.watch import Watch

    path = Path(script).resolve()
    if not module and not path.is_file():
        raise TargetError(f"there is no script {script}")
    if module and not _is_module(script):
        raise TargetError(f"there is no module {script}")
    actions = actions_named(on_finding, "--on-finding", mlflow=True) if on_finding else ()
    judged = _safety(safety) if safety is not None else None
    told = sinks_named(sinks)
    folder = state_here().new_run()
    name = script if module else path.stem
    guard.tell(folder=str(folder), target=script, doing="training")
    root = Path.cwd() if module else path.parent
    watched = Watch(name, folder, every=every, sinks=told, root=root, actions=actions, safety=judged)
    called = Script(script, tuple(arguments), module, str(Path.cwd()), dict(os.environ))
    before, process = (sys.argv, sys.path[:]), os.getpid()
    started, began = time.process_time(), time.perf_counter()
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path.cwd() if module else path.parent))
    try:
        with guard.last_words(partial(_judge_record, watched)), watched:
            _run(script, module)
    except guard.Ended:
        watched.crash = KeyboardInterrupt()
    except SystemExit as left:
        if left.code not in (None, 0):
            print(f"{name} left with {shown(left.code, str)}", file=sys.stderr)  # noqa: T201 (the script's own stderr)
    except BaseException as error:
        _print_as_python(error)
    finally:
        if os.getpid() != process:  # a fork of the script: its parent judges
            os._exit(0)
        sys.argv, sys.path[:] = before
    watched.script = replace(called, seconds=time.process_time() - started, wall=time.perf_counter() - began)
    return watched


def judge_script(
    watched: Watch, consent: str, ask: Callable[[Cost], bool] | None = None, *, swaps: bool = True
) -> Verdict:
    """The verdict over a script that was run; its suspicions are tested by running it again, where that is allowed.

    `consent` is `yes`, `no` or `ask`: then `ask` is told of the cost. An interruption of the tests leaves the verdict
    without them.
    """
    from firstfault.watcher.rerun.proof import Consent, Rerun

    assert watched.script is not None, "only what `run_script` has watched can be run again"
    try:
        with Rerun(watched.script, Consent(consent), ask) as rerun:
            return watched.verdict(swaps=swaps, rerun=rerun)
    except KeyboardInterrupt:
        judge_interrupted(watched)
        raise


def judge_interrupted(watched: Watch) -> None:
    """Write the verdict over what was seen before the end was asked for: by the record at once, then by the model."""
    _judge_record(watched)
    watched.verdict(swaps=False)
    watched.report()


def _judge_record(watched: Watch) -> None:
    """By the record alone: the script's own thread may still train the model."""
    with _judging:
        watched.verdict_of_record()
        watched.report()


def _safety(spec: str) -> Safety:
    """The safety that a file declares; the import path stays as the script would find it."""
    from firstfault.target.loader import load_safety

    before = sys.path[:]
    try:
        return load_safety(spec)
    finally:
        sys.path[:] = before


def _is_module(name: str) -> bool:
    importlib.invalidate_caches()
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
    finally:
        sys.path.remove(str(Path.cwd()))


def _print_as_python(error: BaseException) -> None:
    """Print an exception of the script without the frames that ran the script."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, runpy.run_path.__code__.co_filename):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def _run(script: str, module: bool) -> None:
    if module:
        runpy.run_module(script, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(str(Path(script).absolute()), run_name="__main__")
