"""The process from which the arms of a rerun are forked, one after the other: torch is loaded once.

    python -P -m firstfault.watcher.rerun.stand

The first line of its standard input is the script and the scratch folder, every other one an arm; it answers each with
a line when the arm has ended, and all that it had started. The user's code runs in the arms alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
from functools import partial
from pathlib import Path

from firstfault.runs.guard_process import CHILD_SUBREAPER
from firstfault.runs.ownership import below, end_family
from firstfault.watcher.rerun.arm import Arm, Script


def main() -> None:
    """Fork an arm for every line, and wait for it."""
    import torch._dynamo  # noqa: F401 - the first optimizer imports it: once here, and not in every arm

    from firstfault.watcher.rerun.inside import Life

    words = sys.stdin.buffer
    told = json.loads(words.readline())
    values = told["script"]
    script, scratch = Script(**{**values, "arguments": tuple(values["arguments"])}), Path(told["scratch"])
    with contextlib.suppress(OSError, AttributeError):  # what an arm's own children leave behind becomes ours
        ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1)
    for number, line in enumerate(iter(words.readline, b"")):
        folder = scratch / str(number)
        folder.mkdir()
        child = os.fork()
        if child == 0:
            Life(script, Arm(**json.loads(line)), folder).live()
        _, status = os.waitpid(child, 0)
        end_family(partial(below, os.getpid()), grace=0.0)
        os.write(1, json.dumps({"folder": str(folder), "status": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


if __name__ == "__main__":
    main()
