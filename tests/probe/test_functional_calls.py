"""Activations and attention called as functions are seen as modules are, and nothing is changed by it."""

import contextlib
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import firstfault
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status
from firstfault.probe.functional_calls import _Listener, attention_weights
from firstfault.probe.loss_hooks import hear_losses
from firstfault.probe.probe import Probe


@pytest.fixture(autouse=True)
def _nothing_is_compiled():
    """Forget what other tests of this process have compiled: nothing is listened to beside it."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.utils.counters.clear()


SOME = (torch.arange(5) < 3).expand(5, 5)


class Functional(nn.Module):
    """Everything that a user may call as a function, and the loss within the forward pass."""

    def __init__(self, bias=0.0):
        super().__init__()
        self.hidden, self.act, self.mid, self.qkv = nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Linear(4, 12)
        self.block, self.drop, self.head = (
            nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.1),
            nn.Dropout(0.1),
            nn.Linear(16, 3),
        )
        nn.init.constant_(self.hidden.bias, bias)

    def forward(self, x, y):
        h = torch.tanh(self.act(self.mid(F.relu(self.hidden(x))))).view(-1, 4, 4)
        q, k, v = self.qkv(h).chunk(3, -1)
        h = (
            F.scaled_dot_product_attention(q, k, v, is_causal=True)
            + self.drop(torch.softmax(q @ k.transpose(1, 2) / 2, -1)) @ v
        )
        return F.cross_entropy(torch.sigmoid(self.head(self.block(h).flatten(1))), y)


def train(model, steps=12, frozen=None):
    """A few steps of a model that returns its loss."""
    updates = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        if frozen is not None:
            frozen.eval()
        x = torch.randn(32, 6)
        updates.zero_grad()
        model(x, (x[:, 0] > 0).long()).backward()
        updates.step()


def watched(bias=0.0, frozen=False, watch=True):
    """A model trained with or without a probe, and what the probe saw."""
    torch.manual_seed(0)
    model, probe = Functional(bias), Probe()
    with probe.observe(model) if watch else contextlib.nullcontext():
        train(model, frozen=model.block if frozen else None)
    return model, probe.record


@pytest.mark.parametrize("frozen", [False, True])
def test_no_bit_of_the_result_changes(frozen):
    """Whether parts of the model are in eval mode, where torch takes other paths, or not."""
    one, other = watched(frozen=frozen)[0], watched(frozen=frozen, watch=False)[0]
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch._C._len_torch_function_stack() == 0


def test_functions_are_named_after_the_module_before_them():
    """Those within modules of torch are left to the modules, but for the function that a transformer layer is given."""
    _, record = watched()
    kinds = {name: entry.kind for name, entry in record.activations.items() if ":" in name}
    assert kinds == {"hidden:relu": "ReLU", "act:tanh": "Tanh", "block.linear1:relu": "ReLU", "head:sigmoid": "Sigmoid"}
    assert list(record.attention) == ["qkv:attention", "drop:attention", "block.self_attn"]
    assert len({len(entry.std) for entry in record.activations.values()}) == 1


def test_a_loss_within_the_model_is_counted_once(tmp_path):
    """The probe's own listening to losses goes on beside."""
    model = Functional()
    with firstfault.watch("t", folder=tmp_path / "run") as seen:
        train(model)
    assert seen.record.losses == ["cross_entropy"]


def test_each_kind_of_loss_is_heard_once_while_functions_are_listened_to():
    """One that compares log-probabilities, or triplets, too."""
    heard, x = [], torch.randn(4, 3, requires_grad=True)
    undo = hear_losses(lambda name, given, value: heard.append(name), lambda: True)
    with _Listener(lambda *call: None):
        F.mse_loss(x, torch.zeros(4, 3))
        F.kl_div(x.log_softmax(-1), torch.full((4, 3), 1 / 3), reduction="batchmean")
        F.triplet_margin_loss(x, x + 1, x + 2)
    for take_back in undo:
        take_back()
    assert heard == ["mse_loss", "kl_div", "triplet_margin_loss"]


@pytest.mark.parametrize(("bias", "status"), [(-50.0, Status.FAIL), (0.0, Status.PASS)])
def test_a_dead_functional_relu_is_found(bias, status, tmp_path):
    """As one that is a module."""

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.head = nn.Linear(6, 16), nn.Linear(16, 2)
            nn.init.constant_(self.hidden.bias, bias)

        def forward(self, x, y):
            return F.cross_entropy(self.head(F.relu(self.hidden(x))), y)

    torch.manual_seed(0)
    with firstfault.watch("t", folder=tmp_path / "run") as seen:
        train(Small(), 30)
    check = next(entry for entry in checks_of(Layer.TRAINING) if entry.name == "dying_relu")
    finding = run_check(check, seen.subject, {})[0]
    assert finding.status is status
    assert status is Status.PASS or str(finding.where) == "hidden:relu"


def test_an_exception_in_a_model_leaves_nothing_behind():
    """The loop may catch it, and go on."""

    class Raising(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 2)

        def forward(self, x, y):
            raise ValueError(torch.relu(self.layer(x)).sum())

    model = Raising()
    with Probe().observe(model):
        with pytest.raises(ValueError, match="tensor"):
            train(model)
        assert torch._C._len_torch_function_stack() == 0


@pytest.mark.parametrize(
    ("given", "mask"),
    [
        ({}, None),
        ({"is_causal": True}, torch.ones(5, 5, dtype=torch.bool).tril()),
        ({"scale": 0.3}, None),
        ({"attn_mask": SOME}, SOME),
        ({"attn_mask": torch.zeros(2, 1, 5, 5)}, None),
    ],
)
def test_weights_give_what_the_function_gives(given, mask):
    """Times the values they are its result."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 5, 8)
    weights = attention_weights(q, k, v, **given)
    assert torch.allclose(weights @ v[0], F.scaled_dot_product_attention(q, k, v, **given)[0], atol=1e-5)
    assert mask is None or not weights[:, ~mask].any()
