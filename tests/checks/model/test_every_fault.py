"""Every fault of the layer in networks of several kinds: found without look-alikes, and absent from sound twins of other kinds."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from firstfault.faults import EXPLAINS, FAULTS
from firstfault.finding import Layer, Status

EVERY = ("mlp", "cnn", "rnn", "encoder", "causal", "autoencoder")
CLASSIFIERS = ("mlp", "cnn", "rnn", "encoder")


class Then(nn.Module):
    """A network, and a function of its outputs."""

    def __init__(self, body, act):
        super().__init__()
        self.body, self.act = body, act

    def forward(self, x):
        return self.act(self.body(x))


class Before(Then):
    """A function of the inputs, and a network."""

    def forward(self, x):
        return self.body(self.act(x))


class Scaled(nn.Module):
    """A learned factor per feature of the last axis, that does something wrong to what passes."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, x):
        return self.act(self, x)


def hidden(model):
    """The hidden layers with weights `(units, …)`, by name."""
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d) and "attention" not in name]
    return found[:-1]


def after_hidden(act):
    """A change that puts a function after the first hidden layer of any network."""

    def plant(model):
        name, layer = hidden(model)[0]
        above, _, last = name.rpartition(".")
        setattr(model.get_submodule(above), last, nn.Sequential(layer, Scaled(act)))

    return plant


def each_hidden(change):
    """A change of every hidden layer."""

    def plant(model):
        for _, layer in hidden(model):
            change(layer)

    return plant


def silent(layer):
    nn.init.constant_(layer.bias, -50.0)


def wide(layer):
    nn.init.normal_(layer.weight, 0, 8.0)


def equal(layer):
    nn.init.constant_(layer.weight, 0.05)
    nn.init.constant_(layer.bias, 0.05)


def dropouts(rate):
    def plant(model):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate

    return plant


def unused(model):
    model.spare = nn.Linear(40, 40) if not isinstance(model, nn.Sequential) else None
    if isinstance(model, nn.Sequential):
        model[0].spare = nn.Linear(40, 40)


def frozen(model):
    parameters = list(model.parameters())
    for value in parameters[:-2]:
        value.requires_grad_(False)


def norms(**values):
    def plant(model):
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for name, value in values.items():
                    setattr(module, name, value)

    return plant


def noisy(module, h):
    return h + torch.randn_like(h)


def always_dropped(module, h):
    return F.dropout(h, 0.3)


def cut(module, h):
    return h.detach()


def mixed(module, h):
    return h - h.mean(0)


def over_batch(module, h):
    return torch.softmax(h, 0)


def logarithm(module, h):
    return torch.log(h)


PLANTED = {
    "dead_relu": (("mlp", "cnn", "rnn", "encoder", "causal", "autoencoder"), each_hidden(silent)),
    "exploding_init": (EVERY, each_hidden(wide)),
    "constant_init": (EVERY, each_hidden(equal)),
    "frozen_parameters": (EVERY, frozen),
    "detached_graph": (EVERY, after_hidden(cut)),
    "unused_parameters": (EVERY, unused),
    "batch_mixing": (EVERY, after_hidden(mixed)),
    "softmax_wrong_axis": (EVERY, after_hidden(over_batch)),
    "excessive_dropout": (EVERY, dropouts(0.97)),
    "mode_not_propagated": (EVERY, after_hidden(always_dropped)),
    "nondeterministic_eval": (EVERY, after_hidden(noisy)),
    "numerically_unstable": (EVERY, after_hidden(logarithm)),
    "norm_statistics_wrong": (("mlp", "cnn"), norms(momentum=0.0)),
}


@pytest.mark.parametrize(("fault", "kind"), [(fault, kind) for fault, (kinds, _) in PLANTED.items() for kind in kinds])
def test_a_planted_fault_is_found_without_look_alikes(network, faults, fault, kind):
    """It is found, and nothing but what it brings about."""
    found = set(faults(network(kind, PLANTED[fault][1])))
    assert fault in found
    assert found <= {fault} | EXPLAINS.get(fault, frozenset())


@pytest.mark.parametrize("kind", EVERY)
def test_sound_networks_are_sound(network, faults, kind):
    """Nothing fails."""
    assert faults(network(kind)) == {}
