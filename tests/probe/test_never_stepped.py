"""Loops with several optimizers of which one never steps, beside healthy twins: what is told is the cause."""

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

import firstfault
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status

OF_OPTIMIZERS = ("parameters_not_in_optimizer", "missing_zero_grad")


def faults(seen):
    entries = [entry for entry in checks_of(Layer.TRAINING) if entry.name in OF_OPTIMIZERS]
    found = [finding for entry in entries for finding in run_check(entry, seen.subject, {})]
    return [fault for finding in found if finding.status is Status.FAIL for fault in finding.faults]


def adversaries(*, idle, steps=12):
    """A generator steps in its critic's place; all that was made for it goes with this function."""
    torch.manual_seed(0)
    made, critic = nn.Linear(4, 2), nn.Linear(2, 1)
    first, second = (torch.optim.SGD(model.parameters(), 1e-2) for model in (made, critic))
    for _ in range(steps):
        fake = made(torch.randn(16, 4))
        second.zero_grad()
        (softplus(-critic(torch.randn(16, 2))).mean() + softplus(critic(fake.detach())).mean()).backward()
        (first if idle else second).step()
        if not idle:
            first.zero_grad()
        softplus(-critic(made(torch.randn(16, 4)))).mean().backward()
        first.step()


def two_parts(*, idle, steps=12):
    """A body and a head with an optimizer each."""
    torch.manual_seed(0)
    body, head = nn.Linear(4, 8), nn.Linear(8, 1)
    first, second = torch.optim.Adam(head.parameters()), torch.optim.Adam(body.parameters())
    for _ in range(steps):
        first.zero_grad()
        if not idle:
            second.zero_grad()
        head(body(torch.randn(16, 4)).relu()).pow(2).mean().backward()
        first.step()
        if not idle:
            second.step()


@pytest.mark.parametrize("loop", [adversaries, two_parts])
def test_the_optimizer_that_never_steps_is_told(tmp_path, loop):
    """It is the cause, and not the gradients that another one uses twice; its function may have ended."""
    with firstfault.watch(folder=tmp_path) as seen:
        loop(idle=True)
    assert faults(seen) == ["parameters_not_in_optimizer"]


@pytest.mark.parametrize("loop", [adversaries, two_parts])
def test_optimizers_that_all_step(tmp_path, loop):
    """Where each clears its gradients and steps, nothing is told."""
    with firstfault.watch(folder=tmp_path) as seen:
        loop(idle=False)
    assert faults(seen) == []
