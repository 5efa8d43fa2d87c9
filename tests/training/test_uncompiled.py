"""Optimizers without torch's compiler."""

import sys

import pytest
import torch
from torch import nn

from firstfault.training.uncompiled import COMPILER, spare_compiler


def trained(kind):
    """The weights after three steps, a state that was saved and read, and a further group of parameters."""
    torch.manual_seed(0)
    model, x = nn.Linear(4, 2), torch.randn(16, 4)
    optimizer = kind(model.parameters())

    def learnt():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(learnt)
    optimizer.load_state_dict(optimizer.state_dict())
    return torch.cat([value.detach().flatten() for value in model.parameters()])


@pytest.mark.parametrize("kind", [torch.optim.Rprop, torch.optim.ASGD, torch.optim.LBFGS])
def test_an_optimizer_steps_alike_and_imports_no_compiler(kind, monkeypatch):
    """Without the compiler the weights are those that they are with it, and nothing imports it."""
    with monkeypatch.context() as gone:
        gone.delitem(sys.modules, COMPILER, raising=False)
        spare_compiler()
        spared = trained(kind)
        assert COMPILER not in sys.modules
    assert torch.equal(spared, trained(kind))
