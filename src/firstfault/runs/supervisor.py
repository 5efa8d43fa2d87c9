"""The process that owns the servers of `firstfault up`: they end with it, and it ends when the state folder is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from firstfault.errors import FirstfaultError
from firstfault.runs.ownership import MARK, end_family, mark_of, marked, start_warden
from firstfault.runs.processes import OWNER, Service, read, this_process, write
from firstfault.runs.services import start_all
from firstfault.runs.state import State

LOOK_SECONDS = 0.5
"""How often the state folder is looked at: so long after it went, the servers go."""


def own(state: State, prefect_port: int, mlflow_port: int) -> None:
    """Start the servers, tell on standard output how that goes, and stay while the state notes this as the owner."""
    me = this_process(OWNER, state)
    os.environ[MARK] = mark_of(me.pid, me.created)
    warden = start_warden(os.environ[MARK])
    write(state, [me])
    try:
        start_all(state, prefect_port, mlflow_port, say=lambda text: tell(say=text))
        tell(ready=True)
        _stay(state, me, warden)
    except FirstfaultError as error:
        tell(failed=str(error))
    finally:
        end_family(partial(marked, os.environ[MARK]))


def tell(**event: object) -> None:
    """Send an event to the `firstfault up` that waits for it, as a line of JSON."""
    print(json.dumps(event), flush=True)  # noqa: T201 (a pipe, and not a terminal)


def _stay(state: State, me: Service, warden: subprocess.Popen[bytes]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that end leave no zombies
    while warden.poll() is None and me in read(state):
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    own(State(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
