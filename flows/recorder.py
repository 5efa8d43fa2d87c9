"""Records a run that another process carries out.

`python -m firstfault.flows.recorder` reads its steps, and is the flow run of it.
"""

from __future__ import annotations

import json
import os
import sys

from firstfault.flows.debug import debug
from firstfault.flows.incident import incident
from firstfault.flows.sweep import sweep
from firstfault.tasks.told import TOLD, Told

FLOWS = {"debug": debug, "sweep": sweep, "incident": incident}


def main() -> None:
    """Follow what standard input tells; standard output gets the id of the flow run, and nothing else."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def announce(flow_run_id: str, url: str | None) -> None:
        answers.write(json.dumps({"id": flow_run_id, "url": url}) + "\n")
        answers.flush()

    begin = json.loads(sys.stdin.readline())
    TOLD.set(Told(sys.stdin, announce))
    FLOWS[begin["flow"]](**begin["parameters"], return_state=True)


if __name__ == "__main__":
    main()
