"""Scripts in public styles: stages with an optimizer each, weights without a module, samples that are mixed up, sparse
gradients, batches in order.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import firstfault
from firstfault.checks.training.gradient_rules import _why_nothing_moved
from firstfault.finding import Layer, Status
from firstfault.standing import _rank
from firstfault.verdict import Fault


def points(n=320, width=6, classes=3, seed=0):
    """Points in classes that a straight line tells apart."""
    x = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return x, x[:, :classes].argmax(1)


def network(*last):
    """A small classifier."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3), *last)


def finding(watched, check):
    """What a check found."""
    return next(
        found for report in watched.verdict(swaps=False).layers for found in report.findings if found.check == check
    )


def top(watched):
    """The first fault of the verdict, with what its swaps say."""
    return next((fault.fault for fault in watched.verdict().faults), None)


def in_two_parts(folder, held):
    """An encoder and a head, each with an optimizer that is given the parameters of one of them."""
    torch.manual_seed(0)
    parts, (x, y) = {"encoder": nn.GRU(6, 8, batch_first=True), "head": nn.Linear(8, 3)}, points(32)
    with firstfault.watch(folder=folder) as watched:
        optimizers = [torch.optim.Adam(parts[name].parameters(), 1e-2) for name in held]
        for _ in range(30):
            for part in parts.values():
                part.zero_grad()
            F.cross_entropy(parts["head"](parts["encoder"](x[:, None])[0][:, 0]), y).backward()
            for optimizer in optimizers:
                optimizer.step()
    return finding(watched, "parameters_not_in_optimizer").status


def test_two_optimizers_of_the_same_parameters_leave_a_model_out(tmp_path):
    """The optimizer of the encoder was given the head."""
    assert in_two_parts(tmp_path, ("head", "head")) is Status.FAIL
    assert in_two_parts(tmp_path, ("encoder", "head")) is Status.PASS
    assert in_two_parts(tmp_path, ("head",)) is Status.WARN


@pytest.mark.parametrize("wrapped", [nn.Identity, nn.DataParallel])
def test_layers_that_were_exchanged_behind_the_optimizer_are_named(wrapped, tmp_path):
    """Also of a model that something wraps, as a compiled one."""
    (x, y), net = points(64), network()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    net[2] = nn.Linear(16, 3)
    model = net if wrapped is nn.Identity else wrapped(net)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(30):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    found = finding(watched, "parameters_not_in_optimizer")
    assert found.status is Status.FAIL and found.where.names == ("2.weight", "2.bias")


@pytest.mark.parametrize("trained", [False, True])
def test_a_model_that_no_optimizer_holds_may_measure_once_it_is_trained(trained, tmp_path):
    """At its random initialisation there is nothing that it could measure by: it was left out."""
    torch.manual_seed(0)
    x, tower, other = points(64)[0], nn.Linear(6, 24), nn.Linear(6, 24)
    tower.weight.data += 0.3 * trained
    optimizer = torch.optim.Adam(other.parameters(), 1e-2)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(30):
            optimizer.zero_grad()
            F.cross_entropy(other(x) @ tower(x.roll(1, 1)).T, torch.arange(64)).backward()
            optimizer.step()
    assert finding(watched, "parameters_not_in_optimizer").status is (Status.WARN if trained else Status.FAIL)


@pytest.mark.parametrize("right", [True, False], ids=["student", "teacher"])
def test_a_second_stage_is_seen_with_its_own_optimizer(right, tmp_path):
    """A teacher is trained, then a student.

    An optimizer that holds the teacher again steps while nothing of it has a gradient.
    """
    (x, y), teacher, student = points(64), network(), nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    with firstfault.watch(folder=tmp_path) as watched:
        for model, held in ((teacher, teacher), (student, student if right else teacher)):
            optimizer = torch.optim.Adam(held.parameters(), 1e-2)
            for _ in range(120):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
    assert finding(watched, "parameters_not_in_optimizer").status is (Status.PASS if right else Status.FAIL)
    assert len(watched.record.models) == 2


def straight_line(clear):
    """A regression by hand, on tensors without a module."""
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    y, weight, bias = (
        x @ torch.tensor([1.0, -2.0, 0.5]) + 1.0,
        torch.full((3,), 0.01, requires_grad=True),
        torch.zeros(1, requires_grad=True),
    )
    for step in range(60):
        rows = slice(20 * (step % 10), 20 * (step % 10) + 20)
        ((x[rows] @ weight + bias - y[rows]) ** 2).mean().backward()
        with torch.no_grad():
            for value in (weight, bias):
                value -= 0.05 * value.grad
                if clear:
                    value.grad.zero_()
    return weight.detach()


def test_weights_without_a_module_are_followed(tmp_path):
    """Those that a loss is learnt into are the model; nothing of them changes."""
    alone = straight_line(True)
    with firstfault.watch(folder=tmp_path) as sound:
        seen = straight_line(True)
    with firstfault.watch(folder=tmp_path) as faulty:
        straight_line(False)
    assert torch.equal(alone, seen) and top(sound) is None and sound.record.steps == 59
    assert top(faulty) == "missing_zero_grad"


@pytest.mark.parametrize(
    ("ordered", "status"), [(True, Status.FAIL), (False, Status.PASS)], ids=["sorted", "as_they_come"]
)
def test_the_order_of_the_captured_batches_is_judged(ordered, status, tmp_path):
    """Sorted labels without shuffling are seen in a loop that is watched; rows in no order need no shuffling."""
    (x, y), model = points(), network()
    order = y.argsort() if ordered else torch.arange(len(y))
    with firstfault.watch(folder=tmp_path) as watched:
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(5):
            for rows, labels in DataLoader(TensorDataset(x[order], y[order]), 32):
                optimizer.zero_grad()
                F.cross_entropy(model(rows), labels).backward()
                optimizer.step()
    assert finding(watched, "no_shuffle").status is status


@pytest.mark.parametrize("softmax", [False, True], ids=["logits", "softmax"])
def test_mixed_up_samples_are_replayed(softmax, tmp_path):
    """Two cross-entropies of one output, weighed to 1, are one with shares of classes."""
    (x, y), model = points(640), network(*([nn.Softmax(1)] if softmax else []))
    draw = torch.Generator().manual_seed(1)
    with firstfault.watch(folder=tmp_path) as watched:
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for step in range(60):
            rows = torch.arange(32) + 32 * (step % 20)
            share, other = float(torch.rand((), generator=draw)), rows[torch.randperm(32, generator=draw)]
            outputs = model(share * x[rows] + (1 - share) * x[other])
            optimizer.zero_grad()
            (share * F.cross_entropy(outputs, y[rows]) + (1 - share) * F.cross_entropy(outputs, y[other])).backward()
            optimizer.step()
    assert top(watched) == ("redundant_softmax" if softmax else None)
    assert finding(watched, "redundant_softmax").status is (Status.FAIL if softmax else Status.PASS)


@pytest.mark.parametrize("several", [True, False], ids=["several", "shares"])
def test_cross_entropy_on_several_labels_is_the_wrong_loss(several, tmp_path):
    """Yes to several classes of a sample is no share of classes."""
    (x, _), model = points(), network()
    target = (x[:, :3] > 0).float() if several else (x[:, :3] * 4).softmax(1)
    with firstfault.watch(folder=tmp_path) as watched:
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for step in range(60):
            rows = slice(32 * (step % 10), 32 * (step % 10) + 32)
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), target[rows]).backward()
            optimizer.step()
    assert finding(watched, "wrong_loss").status is (Status.FAIL if several else Status.PASS)


def pairs(folder, *, clear=True, rate=1e-2):
    """Words that belong together, with sparse gradients and a loss by hand."""
    torch.manual_seed(0)
    first, second = nn.Embedding(40, 8, sparse=True), nn.Embedding(40, 8, sparse=True)
    with firstfault.watch(folder=folder) as watched:
        optimizer = torch.optim.SparseAdam([*first.parameters(), *second.parameters()], rate)
        for _ in range(80):
            if clear:
                optimizer.zero_grad()
            words = torch.randint(0, 40, (64,))
            (-F.logsigmoid((first(words) * second((words + 1) % 40)).sum(1))).mean().backward()
            optimizer.step()
    return watched


def test_sparse_gradients_that_are_never_cleared_are_seen(tmp_path):
    """They add up like others."""
    assert top(pairs(tmp_path)) is None
    assert top(pairs(tmp_path, clear=False)) == "missing_zero_grad"


def test_a_rate_of_next_to_nothing_is_a_fault_without_a_replay(tmp_path):
    """The loss does not fall, updates and rate are tiny."""
    assert top(pairs(tmp_path, rate=1e-9)) == "learning_rate_too_low"


def test_gradients_that_are_zero_are_not_detached(tmp_path):
    """They were there: nothing cuts the graph, and nothing is frozen."""
    (x, y), model = points(), network(nn.ReLU())
    nn.init.constant_(model[2].bias, -50.0)
    with firstfault.watch(folder=tmp_path) as watched:
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(20):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    assert set(_why_nothing_moved(watched.record)) == {"vanishing_gradient"}


def test_a_suspected_cause_comes_before_a_certain_symptom():
    """Of one layer, what can be mended is named first."""
    cause, symptom = (
        Fault(name, Layer.TRAINING, sure, None, (), "")
        for name, sure in (("learning_rate_too_high", 0.8), ("nonfinite_loss", 0.95))
    )
    assert sorted([symptom, cause], key=_rank)[0] is cause
