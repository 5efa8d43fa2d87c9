"""Other processes on the machine change no verdict: budgets count steps and the processor's seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torch import nn

from firstfault.depth import Depth
from firstfault.diagnosis import diagnose
from firstfault.finding import Layer

PROGRAMS = {
    "healthy": {},
    "slow": {"lr": 1e-6},
    "negated": {"loss": lambda outputs, y: -nn.functional.cross_entropy(outputs, y)},
}


@pytest.fixture
def crowd():
    """A function that starts four processes which compute without end."""
    beside: list[subprocess.Popen[bytes]] = []

    def start():
        beside.extend(subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4))

    yield start
    for process in beside:
        process.kill()
        process.wait()


def test_four_busy_processes_change_no_verdict(subject_of, crowd):
    """Status, faults in their order, and what undoing them confirmed are those of a quiet machine."""

    def verdicts(arm):
        found = {}
        for name, settings in PROGRAMS.items():
            subject = subject_of(folder=f"{name}-{arm}", epochs=4, **settings)
            verdict = diagnose(subject, Depth.QUICK, only=Layer.TRAINING)
            found[name] = verdict.status, [(fault.fault, fault.confirmed) for fault in verdict.faults]
        return found

    alone = verdicts("alone")
    crowd()
    assert verdicts("beside") == alone
    assert [name for name, (_, faults) in alone.items() if not faults] == ["healthy"]
