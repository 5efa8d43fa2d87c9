"""Reduced copies: the smallest part of a model that still fails a check is named."""

import pytest
import torch
from torch import nn

from firstfault.check import Depth, run_checks
from firstfault.diagnosis import examine
from firstfault.finding import Layer, Status
from firstfault.subject.isolation import isolate, placed, removable, without


class Wrong(nn.Module):
    """A layer that does something wrong to its inputs."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, x):
        return self.act(x)


def stack(culprit=None, at=6, blocks=6):
    """Six hidden layers of 16 units, with something put in the middle."""
    parts = [nn.Linear(8, 16), nn.ReLU()]
    for _ in range(blocks):
        parts += [nn.Linear(16, 16), nn.ReLU()]
    return nn.Sequential(*parts[:at], *([culprit] if culprit else []), *parts[at:], nn.Linear(16, 3))


ACTS = {
    "batch_mixing": lambda x: x - x.mean(0),
    "nondeterministic_eval": lambda x: x + torch.randn_like(x),
    "detached_graph": torch.detach,
    "numerically_unstable": torch.log,
    "softmax_wrong_axis": lambda x: torch.softmax(x, 0),
}


@pytest.mark.parametrize("fault", ACTS)
def test_one_wrong_layer_among_many_is_named(network, fault):
    """Whatever it does: it is the only one without which the check passes."""
    check = "batch_mixing" if fault == "softmax_wrong_axis" else fault
    isolated = isolate(network("mlp", model=lambda: stack(Wrong(ACTS[fault]))), check)
    assert isolated.names == ("6",) and fault in isolated.finding.faults


def test_one_dead_layer_of_six_is_named(network):
    """Its successors are healthy."""

    def dead(model):
        nn.init.constant_(model[6].bias, -20.0)

    assert isolate(network("mlp", dead, model=stack), "dead_relu").names == ("6",)


@pytest.mark.parametrize("bad", [0, 3, 5])
def test_one_block_of_six_without_a_mask_is_named(network, bad):
    """The block fails alone, with what it receives in the whole model."""

    def unmask(model):
        model.layers[bad].causal = False

    assert isolate(network("causal", unmask, layers=6), "missing_causal_mask").names == (f"layers.{bad}",)


def test_a_frozen_part_of_a_part_is_named(network):
    """The search goes down to the module that holds the weights."""

    def freeze(model):
        model.layers[1].feed[0].requires_grad_(False)

    assert isolate(network("encoder", freeze), "frozen_parameters").names == ("layers.1.feed.0",)


def test_a_fault_of_the_output_is_named_though_it_needs_labels(network):
    """No part fails alone; without the last module the check passes."""
    isolated = isolate(
        network("mlp", lambda model: model.append(nn.Softmax(1)), loss=nn.CrossEntropyLoss()), "redundant_softmax"
    )
    assert isolated.names == ("9",)


def test_a_stack_that_fails_together_is_made_as_short_as_it_can_be(network):
    """Ten sigmoids let no gradient through; the shortest stack that still fails is named."""

    def deep() -> nn.Module:
        layers = (part for i in range(12) for part in (nn.Linear(8 if i == 0 else 16, 16), nn.Sigmoid()))
        return nn.Sequential(*layers, nn.Linear(16, 3))

    names, finding = isolate(network("mlp", model=deep), "saturating_activation")
    first, last = int(names[0]), int(names[-1])
    assert 0 < first < last < 24 and finding.value < 1e-3


@pytest.mark.parametrize("check", ["dead_relu", "no_such_check", "duplicate_rows"])
def test_only_a_failing_check_of_the_model_can_be_isolated(network, check):
    """Another one is a bad call."""
    with pytest.raises(ValueError):
        isolate(network("mlp"), check)


def test_children_are_taken_out_by_their_first_names():
    """Names that move up when others go are those of the whole model."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sigmoid(), nn.GELU())
    assert removable(model) == ["0", "1", "2", "3", "1.0", "1.1"]
    left = without(model, ["1.0", "0", "2"])
    assert [type(module) for module in left.modules() if not list(module.children())] == [nn.Tanh, nn.GELU]


def test_findings_that_name_a_module_stay(network):
    """Only a failure without a module gets one."""

    def dead(model):
        nn.init.constant_(model[6].bias, -20.0)

    subject = network("mlp", dead, model=stack)
    report = run_checks(Layer.MODEL, subject)
    assert placed(report, subject) == report


def test_a_deep_run_names_the_module_and_a_quick_one_does_not(network):
    """At depth deep, a debug run isolates."""
    places = []
    for depth in (Depth.QUICK, Depth.DEEP):
        report = examine(Layer.MODEL, network("mlp", model=lambda: stack(Wrong(ACTS["batch_mixing"]))), depth)
        places += [
            str(finding.where)
            for finding in report.findings
            if finding.check == "batch_mixing" and finding.status is Status.FAIL
        ]
    assert places == ["forward", "6"]
