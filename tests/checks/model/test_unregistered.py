"""Modules that a model calls and does not know: named before what they bring about."""

import numpy as np
import pytest
import torch
from torch import nn

from firstfault.finding import Status

KINDS = {
    "batch norm": lambda: nn.BatchNorm1d(8),
    "layer norm": lambda: nn.LayerNorm(8),
    "bare batch norm": lambda: nn.BatchNorm1d(8, affine=False),
    "block": lambda: nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.2)),
}
WAYS = {
    "list": lambda modules: modules,
    "dict": lambda modules: dict(enumerate(modules)),
    "lists": lambda modules: {0: modules[0], 1: [modules[1]][0]},
}


class Held(nn.Module):
    """Two modules between layers, held in one way or another."""

    def __init__(self, kind, way):
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)
        modules = [KINDS[kind](), KINDS[kind]()]
        self.between = nn.ModuleList(modules) if way is None else WAYS[way](modules)

    def forward(self, x):
        h = self.first(x)
        for number in range(2):
            h = torch.relu(self.between[number](h))
        return self.last(h)


@pytest.fixture
def source():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["batch norm", "layer norm", "block"])
def test_modules_with_weights_are_named_by_what_holds_them(kind, way, make, only, source):
    """Their weights are trained by nothing; that a sample reacts to others follows from it."""
    subject = make(source, model=lambda: Held(kind, way))
    found = only("frozen_parameters", subject)
    assert found.status is Status.FAIL and "between[0]" in str(found.where)
    assert only("batch_mixing", subject).status is not Status.FAIL
    assert only("mode_not_propagated", subject).status is not Status.FAIL


@pytest.mark.parametrize("way", WAYS)
def test_a_normalisation_without_weights_keeps_its_mode(way, make, only, source):
    """Nothing of it could be trained: eval mode does not reach it."""
    subject = make(source, model=lambda: Held("bare batch norm", way))
    assert only("frozen_parameters", subject).status is Status.PASS
    assert only("mode_not_propagated", subject).status is Status.FAIL
    assert only("batch_mixing", subject).status is Status.SKIPPED


@pytest.mark.parametrize("kind", KINDS)
def test_registered_modules_are_known(kind, make, only, source):
    """In a ModuleList, none of this is said."""
    subject = make(source, model=lambda: Held(kind, None))
    for check in ("frozen_parameters", "batch_mixing", "mode_not_propagated"):
        assert only(check, subject).status is Status.PASS


class Taught(nn.Module):
    """A network that is drawn to a teacher, which a list hides from its parameters on purpose."""

    def __init__(self):
        super().__init__()
        self.own = nn.Linear(3, 2)
        self.teacher = [nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))]

    def forward(self, x):
        with torch.no_grad():
            self.drawn = self.teacher[0](x)
        return self.own(x)


def test_a_teacher_that_is_hidden_on_purpose_is_no_fault(make, only, source):
    """It is called without gradients."""
    subject = make(source, model=Taught)
    for check in ("frozen_parameters", "batch_mixing", "mode_not_propagated"):
        assert only(check, subject).status is Status.PASS


class Anew(nn.Module):
    """A layer that is made in every forward pass."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(torch.relu(nn.Linear(8, 8)(torch.relu(self.first(x)))))


def test_a_layer_that_is_made_anew_is_named_before_what_it_draws(make, only, source):
    """That two answers differ follows from weights that the model does not know."""
    subject = make(source, model=Anew)
    assert only("frozen_parameters", subject).status is Status.FAIL
    assert only("nondeterministic_eval", subject).status is Status.SKIPPED
