"""A NaN or infinity is caught in the step in which it is born, and its birthplace is named.

Healthy infinities are left alone.
"""

import math
import random

import numpy as np
import pytest
import torch
from torch import nn

import firstfault
from firstfault.probe import Probe

LATE = 53


class Net(nn.Module):
    """Two linear layers; `between` is done to what lies between them."""

    def __init__(self, between=torch.relu, part=None):
        super().__init__()
        self.body, self.part, self.head = nn.Linear(6, 12), part or nn.Identity(), nn.Linear(12, 3)
        self.norm, self.drop = nn.BatchNorm1d(12), nn.Dropout(0.1)
        self.between, self.broken = between, False

    def forward(self, x):
        h = self.drop(self.norm(self.body(x)))
        h = self.part(h.relu() if not self.broken else self.between(h))
        return self.head(h)


class Logarithm(nn.Module):
    """The logarithm of what may be negative, once `on`."""

    on = False

    def forward(self, x):
        return x.log() if self.on else x


class Root(nn.Module):
    """The root of 0: its value is finite, its gradient is not."""

    on = False

    def forward(self, x):
        return (x * 0).sqrt() if self.on else x


def batch(step, n=24):
    """Points whose class is the largest of three columns."""
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(step))
    return x, x[:, :3].argmax(1)


def train(
    model,
    *,
    at=LATE,
    plant=lambda model: None,
    steps=60,
    rate=1e-2,
    optimizer=torch.optim.Adam,
    loss=None,
    data=batch,
    first=None,
):
    """A loop in which `plant` is done before step `at`."""
    values = [*model.parameters(), *(first.parameters() if first is not None else ())]
    updates = optimizer(values, lr=rate)
    for step in range(1, steps + 1):
        x, y = data(step)
        if step == at:
            plant(model)
        updates.zero_grad()
        outputs = model(first(x) if first is not None else x)
        (loss or (lambda outputs, y, step: nn.functional.cross_entropy(outputs, y)))(outputs, y, step).backward()
        updates.step()
    return model


def told(watched):
    """Step, kind and the text of the place of the first non-finite tensor; None where there was none."""
    found = watched.record.first_nonfinite
    return found and (*found[:2], str(found[2]))


def born(tmp_path, *args, **settings):
    """Step, kind and place of the first non-finite tensor."""
    torch.manual_seed(0)
    with firstfault.watch(folder=tmp_path) as watched:
        train(*args, **settings)
    return told(watched)


def broken(model):
    """Let a model do what it has between its layers."""
    model.broken = True


def on(model):
    """Switch the part of a model on."""
    model.part.on = True


@pytest.mark.parametrize("at", [1, 2, LATE])
class TestInTheStepInWhichItIsBorn:
    """The very step, at the start, in the second step, and after 50 healthy ones between two sampled steps."""

    def test_in_the_input(self, tmp_path, at):
        """One NaN in the batch."""

        def data(step):
            x, y = batch(step)
            if step == at:
                x[3, 1] = math.nan
            return x, y

        assert born(tmp_path, Net(), data=data) == (at, "input", "the input of Net")

    def test_in_a_weight(self, tmp_path, at):
        """Set by hand before the step."""

        def plant(model):
            with torch.no_grad():
                model.head.weight[1, 2] = math.nan

        assert born(tmp_path, Net(), at=at, plant=plant) == (
            at,
            "weight",
            "head.weight, written by something else than an optimizer",
        )

    def test_in_the_data_of_a_weight(self, tmp_path, at):
        """Written past autograd's count of versions."""

        def plant(model):
            model.head.weight.data[1, 2] = math.nan

        assert born(tmp_path, Net(), at=at, plant=plant) == (
            at,
            "weight",
            "head.weight, written by something else than an optimizer",
        )

    def test_in_a_submodule(self, tmp_path, at):
        """The logarithm of a negative number."""
        assert born(tmp_path, Net(part=Logarithm()), at=at, plant=on) == (at, "activation", "part")

    def test_between_two_submodules(self, tmp_path, at):
        """A division by zero in the forward of the parent."""
        found = born(tmp_path, Net(between=lambda h: h / (h - h)), at=at, plant=broken)
        assert found == (at, "activation", "the operations between drop and part")

    def test_in_the_loss(self, tmp_path, at):
        """The logarithm of 0 in a loss of the user's own."""

        def loss(outputs, y, step):
            chance = outputs.softmax(-1)
            return -(chance * (step != at)).log().mean()

        step, kind, place = born(tmp_path, Net(), loss=loss)
        assert (step, kind, place) == (at, "loss", "the loss (neg of mean of log)")

    def test_in_the_labels(self, tmp_path, at):
        """A NaN among the labels of a regression."""

        def loss(outputs, y, step):
            target = outputs.detach().clone()
            target[0, 0] = math.nan if step == at else 0.0
            return nn.functional.mse_loss(outputs, target)

        assert born(tmp_path, Net(), loss=loss) == (at, "input", "the labels given to mse_loss")

    def test_in_the_backward_pass_of_a_submodule(self, tmp_path, at):
        """The gradient of a root at 0: all values are finite on the way forward."""
        assert born(tmp_path, Net(part=Root()), at=at, plant=on) == (at, "gradient", "part, in the backward pass")

    def test_in_the_backward_pass_between_two(self, tmp_path, at):
        """The same in the forward of the parent."""
        found = born(tmp_path, Net(between=lambda h: (h * 0).sqrt()), at=at, plant=broken)
        assert found == (at, "gradient", "the operations between drop and part, in the backward pass")

    def test_in_the_backward_pass_of_the_loss(self, tmp_path, at):
        """The norm of a difference of 0."""

        def loss(outputs, y, step):
            return (outputs - (outputs.detach() if step == at else y[:, None])).pow(2).sum().sqrt()

        assert born(tmp_path, Net(), loss=loss) == (at, "gradient", "the loss, in the backward pass")

    def test_in_the_second_of_two_models(self, tmp_path, at):
        """The first gives finite values."""
        found = born(tmp_path, Net(part=Logarithm()), first=nn.Linear(6, 6), at=at, plant=on)
        assert found == (at, "activation", "Net.part")

    def test_in_the_first_of_two_models(self, tmp_path, at):
        """The second is given what the first has made."""

        class Features(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer, self.part = nn.Linear(6, 6), Logarithm()

            def forward(self, x):
                return self.part(self.layer(x))

        first = Features()
        found = born(tmp_path, Net(), first=first, at=at, plant=lambda model: setattr(first.part, "on", True))
        assert found == (at, "activation", "part")


@pytest.mark.parametrize("steps", [LATE, LATE + 5], ids=["at the end", "in the middle"])
def test_in_an_update(tmp_path, steps):
    """The step whose update overflows, though the next one sees it, or none."""

    def loss(outputs, y, step):
        return nn.functional.cross_entropy(outputs, y) * (1e30 if step == LATE else 1.0)

    step, kind, place = born(
        tmp_path, Net(), loss=loss, steps=steps, rate=1e15, optimizer=lambda values, lr: Careful(values, lr)
    )
    assert (step, kind) == (LATE, "weight") and place.endswith("by the update")


class Careful(torch.optim.SGD):
    """Steps that are tiny, unless the gradient is huge."""

    def step(self, closure=None):
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is not None and float(value.grad.abs().max()) < 1e20:
                    value.grad.mul_(1e-18)
        return super().step(closure)


def test_zero_over_zero_in_adam(tmp_path):
    """Adam without an epsilon divides 0 by 0 where a unit had no gradient."""
    torch.manual_seed(0)
    x, y = batch(0)
    x[:, 5] = 0.0
    model = nn.Linear(6, 3)
    with firstfault.watch(folder=tmp_path) as watched:
        train(
            model,
            data=lambda step: (x, y),
            optimizer=lambda values, lr: torch.optim.Adam(values, lr=lr, eps=0.0),
            steps=8,
        )
    assert told(watched) == (1, "weight", "weight, by the update")


@pytest.mark.parametrize("raised", [ValueError, SystemExit])
def test_a_loop_that_stops_by_itself(tmp_path, raised):
    """Many loops raise on a loss that is not finite, before the backward pass."""
    model = Net(part=Logarithm())

    def loss(outputs, y, step):
        value = nn.functional.cross_entropy(outputs, y)
        if not torch.isfinite(value):
            raise raised(1)
        return value

    watched = firstfault.watch(folder=tmp_path)
    with pytest.raises(raised), watched:
        train(model, plant=on, loss=loss)
    assert told(watched) == (LATE, "activation", "part")


def test_another_exception_names_no_birthplace(tmp_path):
    """A loop that ends for another reason was finite."""
    watched = firstfault.watch(folder=tmp_path)
    with pytest.raises(KeyError), watched:
        train(Net(), loss=lambda outputs, y, step: {}["loss"])
    assert watched.record.first_nonfinite is None


class Attention(nn.Module):
    """Causal attention of one's own: the scores of a submodule hold −inf, its weights do not."""

    class Scores(nn.Module):
        def forward(self, q, k):
            scores = q @ k.transpose(1, 2)
            return scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)

    def __init__(self):
        super().__init__()
        self.embed, self.scores, self.soft, self.head = nn.Linear(1, 8), self.Scores(), nn.Softmax(-1), nn.Linear(8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.part = Logarithm()

    def forward(self, x):
        h = self.embed(x[..., None])
        h = self.soft(self.scores(h, h)) @ h
        h = self.layer(h, src_mask=nn.Transformer.generate_square_subsequent_mask(h.shape[1]))
        return self.head(self.part(h).mean(1))


def large(outputs, y, step):
    """A loss of 10²⁵."""
    return nn.functional.cross_entropy(outputs, y) * 1e25


def skipping(model, steps=40):
    """A loop that clears the gradients of a loss that is not finite, as gradient scalers do."""
    updates = torch.optim.Adam(model.parameters())
    for step in range(1, steps):
        x, y = batch(step)
        updates.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y) * (math.inf if step % 7 == 0 else 1.0)
        loss.backward()
        if torch.isfinite(loss):
            updates.step()


def scaling(model, steps=40):
    """A gradient scaler whose scale overflows now and then."""
    updates, scaler = (
        torch.optim.SGD(model.parameters(), 0.01),
        torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=3),
    )
    for step in range(1, steps):
        x, y = batch(step)
        updates.zero_grad()
        scaler.scale(nn.functional.cross_entropy(model(x), y)).backward()
        scaler.step(updates)
        scaler.update()


HEALTHY = {
    "attention masks": lambda: train(Attention()),
    "large gradients": lambda: train(Net(), loss=large),
    "a large weight": lambda: train(Net(), plant=lambda model: model.body.weight.data.fill_(1e22)),
    "skipped steps": lambda: skipping(Net()),
    "a gradient scaler": lambda: scaling(Net()),
}


@pytest.mark.parametrize("kind", HEALTHY)
def test_healthy_infinities_and_large_values_are_left_alone(kind, tmp_path):
    """−inf in masks and scores, gradients whose squares overflow, steps that the loop skips."""
    torch.manual_seed(0)
    with firstfault.watch(folder=tmp_path) as watched:
        HEALTHY[kind]()
    assert watched.record.steps > 20 and watched.record.first_nonfinite is None


def test_a_nan_beside_masked_scores(tmp_path):
    """The scores of −inf are not blamed for a logarithm after them."""
    assert born(tmp_path, Attention(), plant=on) == (LATE, "activation", "part")


def test_an_infinity_that_becomes_nan_later(tmp_path):
    """An overflow is blamed, not the layer that makes a NaN of it."""
    assert (
        born(tmp_path, Net(part=Logarithm()), at=LATE, plant=lambda model: (on(model), setattr(model, "broken", True)))
        is not None
    )
    found = born(tmp_path, Net(between=lambda h: (h * 1e30).exp()), plant=broken)
    assert found == (LATE, "activation", "the operations between drop and part")


def test_the_search_leaves_everything_as_it_was(tmp_path):
    """Weights, buffers, gradients, attributes and all random states end as in the same loop without a watch."""

    class Counting(Net):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) + 0 * float(np.random.rand() + random.random())

    def loop():
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        model = train(Counting(part=Root()), plant=on, at=11, steps=14)
        return [*model.state_dict().values(), *(value.grad for value in model.parameters())], (
            model.calls,
            torch.rand(1).item(),
            np.random.rand(),
            random.random(),
        )

    values, state = loop()
    with firstfault.watch(folder=tmp_path) as watched:
        seen, same = loop()
    assert told(watched) == (11, "gradient", "part, in the backward pass")
    assert state == same and all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(values, seen, strict=True))


def test_no_batch_is_held_after_the_watch():
    """What the search would have needed is let go of."""
    probe = Probe()
    with probe.observe():
        train(Net(), steps=5)
    assert not probe._tripwire._calls and not probe._tripwire._learnt
