"""Activations between layers that are flat for what they are given before the training, and their healthy twins."""

import pytest
from torch import nn
from torch.nn import functional as F

from firstfault.finding import Status

HARD = {"hardsigmoid": nn.Hardsigmoid, "hardtanh": nn.Hardtanh, "relu6": nn.ReLU6, "sigmoid": nn.Sigmoid}


def network_of(act, *, norm=False, deviation=None):
    def build():
        blocks = [
            part
            for channels in (1, 8, 8)
            for part in (nn.Conv2d(channels, 8, 3, padding=1), *([nn.BatchNorm2d(8)] if norm else []), act())
        ]
        made = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(512, 3))
        for part in made.modules() if deviation else ():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, 0, deviation)
        return made

    return build


class Functional(nn.Module):
    """Tanh as a function, between layers of weights that are far too wide."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        for layer in (self.first, self.second):
            nn.init.normal_(layer.weight, 0, 10.0)

    def forward(self, x):
        return self.head(F.tanh(self.second(F.tanh(self.first(x)))))


@pytest.mark.parametrize("name", HARD)
def test_wide_weights_saturate_what_lies_between_convolutions(network, faults, name):
    """Activations with an upper bound behind far too wide weights are told as saturated, and nothing else is proven."""
    found = faults(network("cnn", model=network_of(HARD[name], deviation=20.0)))
    assert found["saturating_activation"] >= 0.9


def test_functions_saturate_too(network, status):
    """Saturation is seen where the activation is a function in forward."""
    assert status("saturated_at_start", network("mlp", model=Functional)) is Status.FAIL


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("norm", [False, True])
def test_usual_weights_saturate_nothing(network, status, name, norm):
    """With usual weights, or wide ones before a normalisation, the same network is sound."""
    subject = network("cnn", model=network_of(HARD[name], norm=norm, deviation=20.0 if norm else None))
    assert status("saturated_at_start", subject) is Status.PASS


def test_the_last_activation_may_saturate(network, status):
    """An activation whose result the model returns is not looked at."""
    made = network_of(nn.ReLU, deviation=20.0)()
    subject = network("cnn", model=lambda: nn.Sequential(*made, nn.Sigmoid()))
    assert status("saturated_at_start", subject) is Status.SKIPPED
