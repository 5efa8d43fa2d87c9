"""What happens in the process of one arm.

Seeds are set and walls put up; the script runs under the probe with its intervention; its numbers are written.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from firstfault.clock import unhindered_seconds
from firstfault.errors import told
from firstfault.probe.answers import Answers
from firstfault.probe.interventions.catalogue import intervention
from firstfault.probe.interventions.intervention import Done
from firstfault.probe.probe import Probe
from firstfault.probe.sampling_schedule import NEVER
from firstfault.runs.ownership import ends_with_us
from firstfault.training.patching import replace
from firstfault.watcher.rerun.arm import Arm, Ending, Script
from firstfault.watcher.rerun.mirror import Mirror
from firstfault.watcher.rerun.redirection import redirect
from firstfault.watcher.rerun.scores import LAST
from firstfault.watcher.rerun.trackers import switched_off
from firstfault.watcher.rerun.walls import enclose, no_network, no_programs

LONGER_ON_CPU = 5
"""Seconds after which the kernel ends what has not ended by itself."""
LEAST_LEFT, SHARE_LEFT = 5.0, 0.25
"""Seconds, and their share of those until then, that a script has after its last step: what other processes take from
it is not counted."""
LOOK = 0.25  # seconds from one look at them to the next
RESULT, LOG = "ending.json", "log.txt"


class Life:
    """One run of a script, from its walls to the file with its numbers; `finish` never comes back."""

    def __init__(self, script: Script, arm: Arm, scratch: Path) -> None:
        self.script, self.arm, self.scratch = script, arm, scratch
        self.probe = Probe(every=NEVER)
        self.answers = Answers(lambda: self.probe.record.steps)
        self.done = Done()
        self.denied: dict[str, None] = {}
        self._learners: dict[int, int] = {}  # the last step of each optimizer that had a backward pass of its own
        self._passes = 0  # backward passes at the last step
        self._process, self._began = os.getpid(), time.process_time()
        self._started, self._unhindered = time.perf_counter(), unhindered_seconds()

    def live(self) -> NoReturn:
        """Run the script to its end, or to that of its steps or seconds."""
        self._limit()
        self._settle_in()
        _shift_seeds(self.arm.offset)
        redirect(Mirror(self.scratch))
        enclosed = enclose(self.scratch)
        no_network(self._deny)
        no_programs(self._deny, enclosed)
        raised = ""
        try:
            with contextlib.ExitStack() as stack:
                self._watch(stack)
                self._run()
        except SystemExit as left:
            raised = f"it left with {left.code}" if left.code not in (None, 0) else ""
        except BaseException as error:
            raised = told(error)
        # what comes after the last step is none of the training
        self.finish(raised if self.probe.record.steps < self.arm.steps else "")

    def finish(self, raised: str = "", *, cut: bool = False) -> NoReturn:
        """Write what was seen, and end the process at once."""
        if os.getpid() != self._process:  # a fork of the script's
            os._exit(0)
        record = self.probe.record
        ending = Ending(
            min(record.steps, self.arm.steps),
            _plain(record.loss),
            _plain(record.validation_loss),
            self.answers.sites,
            tuple(self.done.changes.values()),
            raised,
            cut,
            time.process_time() - self._began,
            tuple(self.denied),
            sum(step > record.steps * (1 - 1 / LAST) for step in self._learners.values()),
            self.done.sets,
            _plain(record.rewards),
        )
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        (self.scratch / RESULT).write_text(json.dumps(ending.to_json()))
        os._exit(0)

    def _deny(self, what: str) -> None:
        self.denied[what] = None

    def _limit(self) -> None:
        """It ends by the seconds of the processor and of the clock, by the kernel's later on, and with every parent."""
        dies = ends_with_us()
        if dies is not None:
            dies()
            os.register_at_fork(after_in_child=dies)
        soft = max(1, int(self.arm.seconds) + 1)
        for number in (signal.SIGXCPU, signal.SIGALRM):
            signal.signal(number, lambda *_: self.finish(cut=True))
        resource.setrlimit(resource.RLIMIT_CPU, (soft, soft + LONGER_ON_CPU))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.setitimer(signal.ITIMER_REAL, self.arm.wall)

    def _settle_in(self) -> None:
        """The script's folder, arguments and environment; what it prints goes to a log, and nobody types."""
        (self.scratch / "tmp").mkdir(parents=True)
        os.environ.clear()
        os.environ.update({**self.script.environment, **switched_off(self.scratch)})
        tempfile.tempdir, sys.dont_write_bytecode = None, True
        log = os.open(self.scratch / LOG, os.O_WRONLY | os.O_CREAT, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, to in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, to)
        sys.stdin = os.fdopen(0, closefd=False)
        os.chdir(self.script.folder)
        name = self.script.name
        sys.argv = [name, *self.script.arguments]
        sys.path.insert(0, self.script.folder if self.script.module else str(Path(name).resolve().parent))

    def _watch(self, stack: contextlib.ExitStack) -> None:
        if self.arm.intervention is not None:
            self.done = stack.enter_context(intervention(self.arm.intervention).install())
        for take_back in self.answers.patches():
            stack.callback(take_back)
        stack.enter_context(self.probe.observe())
        stack.callback(register_optimizer_step_post_hook(self._stepped).remove)

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.probe.record.backwards > self._passes:
            self._passes = self.probe.record.backwards
            self._learners[id(optimizer)] = self.probe.record.steps
        if self.probe.record.steps > self.arm.steps:
            self.finish()
        if self.probe.record.steps == self.arm.steps:
            self._validate()
        if time.process_time() - self._began > self.arm.seconds:
            self.finish(cut=True)

    def _validate(self) -> None:
        """All steps are made: what is left is a validation, for which there is some time in which it could run."""
        now = unhindered_seconds()
        left = max(LEAST_LEFT, SHARE_LEFT * (now - self._unhindered))

        def look(*_: Any) -> None:
            if unhindered_seconds() >= now + left or time.perf_counter() >= self._started + self.arm.wall:
                self.finish()

        signal.signal(signal.SIGALRM, look)
        signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)

    def _run(self) -> None:
        import runpy

        if self.script.module:
            runpy.run_module(self.script.name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(self.script.name, run_name="__main__")


def _plain(series: Any) -> dict[str, list[float]]:
    return {"steps": list(series.steps), "values": list(series.values)}


SEEDS: tuple[tuple[Any, str], ...] = (
    (torch, "manual_seed"),
    (torch.random, "manual_seed"),
    (torch.cuda, "manual_seed"),
    (torch.cuda, "manual_seed_all"),
    (np.random, "seed"),
    (np.random, "default_rng"),
    (random, "seed"),
)


def _shift_seeds(offset: int) -> None:
    """Seed all generators, and let the script's own seeds be others by an offset; those of 0 are the user's own."""
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(offset)

    def shifting(seed: Callable[..., Any]) -> Callable[..., Any]:
        def shifted(*args: Any, **kwargs: Any) -> Any:
            if args and isinstance(args[0], int):
                args = (args[0] + offset, *args[1:])
            return seed(*args, **{name: value + offset if name == "seed" else value for name, value in kwargs.items()})

        return shifted

    if offset:
        for owner, name in SEEDS:
            replace(owner, name, shifting)
