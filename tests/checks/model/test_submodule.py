"""A submodule tested alone gets what it receives in the whole model, and only the checks that make sense for a part."""

import pytest
import torch
from torch import nn

from firstfault.check import run_checks
from firstfault.errors import TargetError
from firstfault.finding import Layer, Status
from firstfault.subject.submodule import submodule_subject

PARTS = {
    "mlp": {"2": (32, 24), "4": (32, 24), "8": (32, 24)},
    "cnn": {"0": (32, 1, 8, 8), "4": (32, 8, 4, 4), "9": (32, 32)},
    "rnn": {"cells": (32, 10, 2), "hidden": (32, 16)},
    "encoder": {
        "layers.0": (32, 10, 16),
        "layers.1.attention": (32, 10, 16),
        "layers.1.feed": (32, 10, 16),
        "words": (32, 10),
    },
    "causal": {"layers.1": (32, 10, 16), "head": (32, 10, 16)},
    "autoencoder": {"5": (32, 4)},
}


@pytest.mark.parametrize(
    ("kind", "where", "shape"),
    [(kind, where, shape) for kind, parts in PARTS.items() for where, shape in parts.items()],
)
def test_parts_of_sound_models_are_sound(network, kind, where, shape):
    """Their inputs have the shape that they have in the model; nothing fails or warns, and something is looked at."""
    part = submodule_subject(network(kind), where)
    report = run_checks(Layer.MODEL, part)
    assert tuple(part.batch.x.shape) == shape
    assert {finding.status for finding in report.findings} <= {Status.PASS, Status.SKIPPED}, report.failures
    assert sum(finding.status is Status.PASS for finding in report.findings) > 5


def test_the_inputs_are_those_of_the_whole_model(network):
    """They equal what a plain hook sees in train mode, and the outputs those of the module in eval mode."""
    subject = network("rnn")
    seen = []
    model = subject.fresh_model()
    model.hidden.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(subject.batch.x)
    part = submodule_subject(subject, "hidden")
    assert torch.equal(part.batch.x, seen[0])
    assert torch.equal(part.outputs, subject.model.hidden(seen[0]))


def test_the_whole_subject_stays_as_it_was(network):
    """Neither its model nor the statistics in it are touched."""
    subject = network("cnn")
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    run_checks(Layer.MODEL, submodule_subject(subject, "1"))
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())


class Cut(nn.ReLU):
    """A ReLU that lets no gradient through."""

    def forward(self, x):
        return super().forward(x).detach()


PLANTED = {
    "detached_graph": ("encoder", "layers.1.feed", lambda model: model.layers[1].feed.__setitem__(1, Cut())),
    "dead_relu": ("encoder", "layers.1.feed", lambda model: nn.init.constant_(model.layers[1].feed[0].bias, -20.0)),
    "exploding_init": ("cnn", "4", lambda model: nn.init.normal_(model[4].weight, 0, 60.0)),
    "frozen_parameters": ("rnn", "cells", lambda model: model.cells.requires_grad_(False)),
    "constant_init": (
        "causal",
        "layers.0.feed",
        lambda model: [nn.init.constant_(value, 0.1) for value in model.layers[0].feed.parameters()],
    ),
    "excessive_dropout": ("encoder", "layers.0", lambda model: setattr(model.layers[0].feed[2], "p", 0.97)),
    "missing_causal_mask": ("causal", "layers.1", lambda model: setattr(model.layers[1], "causal", False)),
}
OTHER = {"cnn": "0", "rnn": "hidden", "encoder": "head", "causal": "head"}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_is_found_in_its_part_and_not_in_another(network, status, fault):
    """The check fails on the part that holds the fault, and on no other."""
    kind, where, plant = PLANTED[fault]
    subject = network(kind, plant)
    assert status(fault, submodule_subject(subject, where)) is Status.FAIL
    assert status(fault, submodule_subject(subject, OTHER[kind])) is not Status.FAIL


def test_the_place_has_its_name_in_the_whole_model(network, only):
    """A finding in a part names the module as the model does."""
    subject = network("encoder", PLANTED["dead_relu"][2])
    assert str(only("dead_relu", submodule_subject(subject, "layers.1")).where) == "layers.1.feed.1"


class TimeFirst(nn.Module):
    """A GRU that takes time first, its rows then classified in one flat list."""

    def __init__(self):
        super().__init__()
        self.cells, self.each, self.head = nn.GRU(2, 16), nn.Sequential(nn.Linear(16, 16), nn.ReLU()), nn.Linear(16, 3)

    def forward(self, x):
        hidden = self.cells(x.transpose(0, 1))[0].transpose(0, 1)
        return self.head(self.each(hidden.reshape(-1, 16)).reshape(len(x), -1, 16).mean(1))


@pytest.mark.parametrize("where", ["cells", "each"])
def test_the_samples_come_first_wherever_they_are_in_the_model(network, status, where):
    """With time first, and with positions in one list with the samples, samples are told apart from positions."""
    part = submodule_subject(network("rnn", model=TimeFirst), where)
    assert part.batch.x.shape[:2] == (32, 10) and len(part.outputs) == 32
    assert status("batch_mixing", part) is Status.PASS


def test_torchs_encoder_layers_receive_their_mask(network, status):
    """Arguments other than the input stay: a causal layer of torch's own encoder is causal alone."""

    class Torchs(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.head = nn.Embedding(20, 16), nn.Linear(16, 20)
            self.encoder = nn.TransformerEncoder(
                nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2, enable_nested_tensor=False
            )

        def forward(self, ids):
            return self.head(
                self.encoder(self.words(ids), mask=nn.Transformer.generate_square_subsequent_mask(ids.shape[1]))
            )

    assert (
        status("missing_causal_mask", submodule_subject(network("causal", model=Torchs), "encoder.layers.1"))
        is Status.PASS
    )


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("layer.0", r"the model has no module 'layer.0'; it has layers.0, .*words, .* and \d+ more"),
        ("layers", r"the forward pass does not call 'layers'; its parts are layers.0, layers.1, "),
    ],
)
def test_a_name_that_cannot_be_tested_gets_a_sentence(network, where, sentence):
    """It lists the names that exist, the nearest first."""
    with pytest.raises(TargetError, match=sentence):
        submodule_subject(network("encoder", model=None), where)


def test_a_part_without_samples_is_skipped_with_the_reason(network):
    """A table of positions that is called with positions only has nothing to be told apart."""

    class Places(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places, self.head = nn.Embedding(20, 16), nn.Embedding(10, 16), nn.Linear(16, 3)

        def forward(self, ids):
            return self.head((self.words(ids) + self.places(torch.arange(ids.shape[1]))).mean(1))

    report = run_checks(Layer.MODEL, submodule_subject(network("encoder", model=Places), "places"))
    reason = "places is called without a tensor that has an entry per sample"
    said = {finding.message for finding in report.findings if "watched" not in finding.message}
    assert said == {reason} and {finding.status for finding in report.findings} == {Status.SKIPPED}
