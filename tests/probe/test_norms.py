"""Norms on the sampled steps: whole tensors exactly, large ones from a part of them."""

import pytest
import torch
from torch import nn

import firstfault


def norms(model, x, folder):
    """By parameter: the norm of the weights and the relative update that the probe saw in the first step, and what they were."""
    seen, true = {}, {}
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    with firstfault.watch(folder=folder) as watched:
        model(x).square().mean().backward()
        optimizer.step()
    for name, value in model.named_parameters():
        entry = watched.record.parameters[name]
        seen[name] = entry.gradient[0], entry.weight[0], entry.update[0]
        size = float(before[name].norm())
        true[name] = float(value.grad.norm()), size, float((value.detach() - before[name]).norm()) / size
    return seen, true


def test_norms_of_small_tensors_are_exact(tmp_path):
    """Of up to 16,384 values, all count."""
    torch.manual_seed(0)
    seen, true = norms(nn.Sequential(nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 1)), torch.randn(32, 128), tmp_path)
    assert all(seen[name] == pytest.approx(true[name], rel=1e-4) for name in true)


@pytest.mark.parametrize("model, x", [
    (nn.Sequential(nn.Linear(700, 900), nn.Tanh(), nn.Linear(900, 1)), torch.ones(4, 700).normal_()),
    (nn.Sequential(nn.Linear(50_000, 3), nn.Tanh()), torch.ones(4, 50_000).normal_()),
    (nn.Sequential(nn.Conv2d(3, 256, 7), nn.Tanh()).to(memory_format=torch.channels_last), torch.ones(2, 3, 12, 12).normal_()),
], ids=["wide", "few-rows", "convolution"])
def test_norms_of_large_tensors_are_estimated(model, x, tmp_path):
    """The gradient's norm is exact; those of weights and updates are within 5 %, whatever the shape of the tensor."""
    seen, true = norms(model, x, tmp_path)
    for name in true:
        assert seen[name][0] == pytest.approx(true[name][0], rel=1e-3) and seen[name][1:] == pytest.approx(true[name][1:], rel=0.05)
