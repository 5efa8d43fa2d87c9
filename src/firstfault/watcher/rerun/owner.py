"""The owner of a rerun: starts the stand, hands it arms, ends all of it in time, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from firstfault.errors import Missing
from firstfault.runs.ownership import below, end_family, ends_with_us
from firstfault.watcher.rerun.arm import Arm, Ending, Script

COMING_UP_SECONDS = 120.0
"""The stand's own start, which imports torch on what may be a cold disk."""
LONGER_ON_CLOCK = 10.0
"""Seconds after an arm's own end at which it is killed."""
RESULT = "ending.json"
MODULE = "firstfault.watcher.rerun.stand"


class Stand:
    """Runs arms of one script inside a `with` block; at its end everything is gone, the scratch folder too."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.runs = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = Path()

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            end_family(partial(below, self._process.pid, itself=True), grace=0.0)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=LONGER_ON_CLOCK)
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self._process = None
            shutil.rmtree(self._scratch, ignore_errors=True)

    def run(self, arm: Arm) -> Ending:
        """Run one arm to its end.

        Raises:
            Missing: where nothing came back of it.
        """
        process = self._started()
        assert process.stdin is not None
        self._send(asdict(arm))
        answer = self._answer(arm.wall + LONGER_ON_CLOCK + (COMING_UP_SECONDS if not self.runs else 0))
        self.runs += 1
        if answer is None:
            end_family(partial(below, process.pid), grace=0.0)
            answer = self._answer(LONGER_ON_CLOCK)
        if answer is None:
            raise Missing("run again, the script didn't come to an end")
        file = Path(answer["folder"]) / RESULT
        if not file.is_file():
            raise Missing(f"run again, the script ended by {_how(answer['status'])}")
        return Ending.from_json(json.loads(file.read_text()))

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="firstfault-")).resolve()
            self._process = subprocess.Popen(
                [sys.executable, *subprocess._args_from_interpreter_flags(), "-P", "-m", MODULE],  # type: ignore[attr-defined]
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self.script.folder,
                env=self.script.environment or None,
                start_new_session=True,
                preexec_fn=ends_with_us(),
            )
            self._send({"script": asdict(self.script), "scratch": str(self._scratch)})
        return self._process

    def _send(self, values: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(values).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Missing("the process in which scripts are run again has ended") from error

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        """What the stand says next; None where it says nothing in time."""
        assert self._process is not None and self._process.stdout is not None
        handle, deadline, line = self._process.stdout.fileno(), time.monotonic() + seconds, b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            piece = os.read(handle, 4096)
            if not piece:
                raise Missing("the process in which scripts are run again has ended")
            line += piece
        return dict(json.loads(line))


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"os._exit({status})"
