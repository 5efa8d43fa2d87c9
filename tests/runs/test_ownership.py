"""A family of processes ends: asked first, and killed where it does not heed."""

import os
import subprocess
import sys
import time
from functools import partial

import psutil

from firstfault.runs.ownership import MARK, below, end_family, marked

PARENT = """
import subprocess, sys
child = '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
'''
process = subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
process.wait()
"""
"""A process that heeds SIGTERM, with a child in a session of its own that does not."""


def begin(mark):
    """That process with its child, both of which carry a mark; and their processes."""
    head = subprocess.Popen(
        [sys.executable, "-c", PARENT], env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, text=True
    )
    assert head.stdout.readline() == "ready\n"
    return head, below(head.pid, itself=True)


def all_gone(processes, seconds=10.0):
    """Whether none of them lives within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]:
            return True
        time.sleep(0.05)
    return False


def test_a_child_that_outlives_its_parent_is_killed_too():
    """The parent heeds the first signal, and the child, which is then below nobody, does not."""
    head, processes = begin("tree")
    end_family(partial(below, head.pid, itself=True), grace=1.0)
    assert len(processes) == 2 and all_gone(processes)
    head.wait()


def test_a_family_is_found_by_its_mark():
    """In whatever session; a process with another mark is left alone."""
    head, processes = begin("one")
    other, others = begin("two")
    assert {process.pid for process in marked("one")} == {process.pid for process in processes}
    end_family(partial(marked, "one"), grace=0.0)
    assert all_gone(processes) and all(process.is_running() for process in others)
    end_family(partial(marked, "two"), grace=0.0)
    for each in (head, other):
        each.wait()
