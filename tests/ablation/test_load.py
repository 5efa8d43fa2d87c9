"""Other processes on the machine change no verdict: budgets count steps and the processor's seconds."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from firstfault.depth import Depth
from firstfault.diagnosis import diagnose
from firstfault.finding import Layer


def twice_softmax(outputs, y):
    """The loss of probabilities that are taken for logits."""
    return nn.functional.cross_entropy(outputs.softmax(1), y)


def uncleared(model, loader, _):
    """The user's own loop, without a zero_grad."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for _ in range(4):
        for x, y in loader:
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()


PROGRAMS: dict[str, dict[str, Any]] = {
    "healthy": {},
    "healthy and smaller": {"batch_size": 16, "epochs": 2},
    "slow": {"lr": 1e-6},
    "fast": {"optimizer": partial(torch.optim.SGD, lr=100.0)},
    "negated": {"loss": lambda outputs, y: -nn.functional.cross_entropy(outputs, y)},
    "softmax twice": {"loss": twice_softmax, "lr": 1e-3},
    "uncleared": {"fit": uncleared},
    "summed": {"loss": nn.CrossEntropyLoss(reduction="sum"), "optimizer": partial(torch.optim.SGD, lr=0.5)},
    "clipped": {"clip_norm": 1e-6, "optimizer": partial(torch.optim.SGD, lr=0.1)},
    "decayed": {"optimizer": partial(torch.optim.Adam, lr=1e-2, weight_decay=10.0)},
}
"""Two healthy ones, and eight with a fault of their training."""


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
            subject = subject_of(folder=f"{name}-{arm}", **{"epochs": 4, **settings})
            verdict = diagnose(subject, Depth.QUICK, only=Layer.TRAINING)
            found[name] = verdict.status, [(fault.fault, fault.confirmed) for fault in verdict.faults]
        return found

    alone = verdicts("alone")
    crowd()
    assert verdicts("beside") == alone
    assert [name for name, (_, faults) in alone.items() if not faults] == ["healthy", "healthy and smaller"]
