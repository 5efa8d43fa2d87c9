"""A run and its guard: neither outlives the other."""

import subprocess
import sys

RUN = """
import os, socket, time
from firstfault.runs import guard

ours, theirs = socket.socketpair()
watching = os.getpid()
if os.fork() == 0:
    ours.close()

    def work():
        guard.tell(doing="model")
        print("told", flush=True)
        time.sleep(30)
        print("went on", flush=True)
        return 0

    os._exit(guard.work_for_guard(work, theirs, watching, set()))
theirs.close()
time.sleep(60)
"""


def test_a_run_ends_with_a_guard_that_has_not_read_what_it_was_told():
    """The kernel resets the line of a guard that is killed with words unread; the run ends all the same."""
    guard = subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True)
    assert guard.stdout.readline() == "told\n"
    guard.kill()
    assert guard.communicate(timeout=60)[0] == ""
