"""Graphs that were traced, scripted or exported in train mode, and networks in lower precision."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.nn import functional

from firstfault import Deployment, Training
from firstfault.ablation.confirm.serving import confirm_serving
from firstfault.finding import Status

WINE = load_wine()
MEAN, STD = WINE.data.mean(0), WINE.data.std(0)
TRAINING = Training(loss=nn.CrossEntropyLoss(), epochs=12, batch_size=16, optimizer=lambda p: torch.optim.Adam(p, 1e-2))
ROWS = torch.randn(8, 13)
SERVING = (
    "train_mode_serving",
    "nondeterministic_serving",
    "batch_dependence",
    "served_answers",
    "served_parameters",
    "train_serve_skew",
)


def scaled(X):
    """Wine by its means and deviations."""
    return ((np.asarray(X) - MEAN) / STD).astype(np.float32)


def with_dropout():
    """A network whose answers vary in train mode."""
    return nn.Sequential(nn.Linear(13, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def with_norm():
    """A network whose answers depend on the batch in train mode."""
    return nn.Sequential(nn.Linear(13, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


class Functional(nn.Module):
    """A network whose dropout is no module."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(13, 16), nn.Linear(16, 3)

    def forward(self, x):
        """Scores of the classes."""
        return self.last(functional.dropout(self.first(x).relu(), 0.2, self.training))


def traced(model):
    """A graph of what one batch goes through."""
    return torch.jit.trace(model, ROWS, check_trace=False)


def exported(model):
    """A graph of aten operations."""
    rows = {0: torch.export.Dim("rows", min=1)}
    return torch.export.export(model, (ROWS,), dynamic_shapes=(rows,)).module()


def symbolic(model):
    """A graph of calls and modules."""
    return torch.fx.symbolic_trace(model).eval()


def packaged(model):
    """A function of raw rows around a traced graph, that gives probabilities."""
    graph = traced(model)
    return lambda X: graph(torch.as_tensor(scaled(X))).softmax(1).detach().numpy()


def served(make, model, graph, training):
    """A target that serves a graph made in train mode, or in eval mode."""

    def save(network, path):
        torch.save(network, path)

    def load(path):
        return graph(torch.load(path, weights_only=False).train(training))

    return make("wine", preprocess=scaled, model=model, training=TRAINING, deployment=Deployment(save=save, load=load))


def told(run, subject):
    """The faults that the checks of answers fail with."""
    found = [finding for name in SERVING for finding in run(name, subject)]
    assert not [finding for finding in found if finding.status is Status.ERROR], found
    return {fault for finding in found if finding.status is Status.FAIL for fault in finding.faults}


GRAPHS = {
    "traced, dropout": (with_dropout, traced),
    "traced, batch statistics": (with_norm, traced),
    "exported, dropout": (with_dropout, exported),
    "symbolic, a function": (Functional, symbolic),
    "scripted": (Functional, torch.jit.script),
    "behind a function": (with_dropout, packaged),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_made_in_train_mode_is_told_as_that(make, run, name):
    """Whether its answers vary or depend on the batch: neither is told for itself, and eval mode is what mends it."""
    subject = served(make, *GRAPHS[name], training=True)
    assert told(run, subject) == {"train_mode_serving"}
    assert confirm_serving(subject, "train_mode_serving").confirmed


@pytest.mark.parametrize("name", GRAPHS)
def test_the_same_graph_made_in_eval_mode_is_sound(make, run, name):
    """Its twin answers as the trained network."""
    assert told(run, served(make, *GRAPHS[name], training=False)) == set()


def dynamic(model):
    """A network whose linear layers have weights of 8 bits."""
    return torch.ao.quantization.quantize_dynamic(model.eval(), {nn.Linear}, dtype=torch.qint8)


def rounded(model):
    """A network whose weights have 16 bits."""
    return model.eval().half()


def function(network, dtype=torch.float32):
    """A function of raw rows that calls a network."""
    return lambda X: network(torch.as_tensor(scaled(X)).to(dtype)).float().detach().numpy()


def out_of_sight(network):
    """The same, with the network where it isn't looked for."""
    kept = [[network]]
    return lambda X: kept[0][0](torch.as_tensor(scaled(X))).detach().numpy()


LOWER = {
    "half": rounded,
    "bfloat16": lambda model: model.eval().bfloat16(),
    "dynamic": dynamic,
    "dynamic, traced": lambda model: traced(dynamic(model)),
    "half, behind a function": lambda model: function(rounded(model), torch.float16),
    "dynamic, behind a function": lambda model: function(dynamic(model)),
    "dynamic, out of sight": lambda model: out_of_sight(dynamic(model)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", LOWER)
def test_weights_in_lower_precision_are_sound(make, run, name):
    """Rounded and quantised weights that give the same answers are neither missing nor imprecise."""
    assert told(run, served(make, with_dropout, LOWER[name], training=False)) == set()


def test_noise_that_is_not_the_networks_is_told_as_randomness(make, run):
    """Answers that vary otherwise than the trained network's do in train mode are not served in it."""

    def noisy(model):
        network = model.eval()
        return lambda X: (network(torch.as_tensor(scaled(X))) + 0.01 * torch.randn(len(X), 3)).detach().numpy()

    assert told(run, served(make, with_dropout, noisy, training=False)) == {"nondeterministic_serving"}
