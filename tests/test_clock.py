"""Budgets are of work: what other processes take from this one, and what it waits for, is not counted."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from firstfault import clock
from firstfault.clock import Deadline, cpu_seconds, unhindered_seconds

BUSY = "while True: pass"


def work(seconds: float) -> None:
    """Keep this thread busy for some CPU seconds."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.fixture
def crowd():
    """Four busy processes for each of ours."""
    beside = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(4)]
    yield
    for process in beside:
        process.kill()
        process.wait()


def test_waiting_costs_nothing_of_a_budget():
    """A thread that waits for another process uses none of its CPU seconds meanwhile."""
    deadline = Deadline(5.0)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"]):
        pass
    assert deadline.used < 1.0 and not deadline.passed


def test_work_uses_a_budget_up():
    """A deadline passes when so many CPU seconds are used."""
    deadline = Deadline(0.05)
    work(0.06)
    assert deadline.passed and not deadline.overslept


def test_the_children_that_were_waited_for_have_worked_too():
    """What a worker did counts once it has ended."""
    before = cpu_seconds()
    code = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert cpu_seconds() - before >= 0.25


def test_a_sleeper_is_ended_by_the_wall_clock():
    """A deadline whose seconds are never used passes all the same, and says so."""
    deadline = Deadline(0.02)
    while not deadline.passed:
        time.sleep(0.01)
    assert deadline.overslept


def test_a_crowd_takes_nothing_from_a_measured_step(crowd):
    """Beside four busy processes the same work takes about its own CPU time, whatever the wall clock says."""
    if clock._SCHEDULE.opened() < 0:
        pytest.skip("this system doesn't count the waits for a processor")
    began, cpu = unhindered_seconds(), time.thread_time()
    work(0.3)
    assert unhindered_seconds() - began < 1.3 * (time.thread_time() - cpu)
