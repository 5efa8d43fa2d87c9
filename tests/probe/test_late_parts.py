"""Loops that change on the way what they train, or compute in two precisions: what the probe holds stays right."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import firstfault
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status


def points(n=64):
    """Points whose class is the sign of their sum."""
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(1))
    return x, (x.sum(1) > 0).long()


class Growing(nn.Module):
    """A network with a part that is made late."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.late = nn.Linear(8, 16), nn.Linear(16, 2), None

    def forward(self, x):
        """The late part adds to the outputs."""
        hidden = self.first(x).relu()
        return self.last(hidden) if self.late is None else self.last(hidden) + self.late(hidden)


def finding(watched, layer, name):
    """What a check found."""
    entry = next(entry for entry in checks_of(layer) if entry.name == name)
    return run_check(entry, watched.subject, {})[0]


def grown(added):
    """A training whose late part is given to the optimizer, or forgotten."""
    torch.manual_seed(0)
    model, (x, y) = Growing(), points()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(60):
        if step == 20:
            model.late = nn.Linear(16, 2)
            if added:
                optimizer.add_param_group({"params": model.late.parameters()})
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


def thawed(added):
    """A training whose first layer is thawed on the way, or thawed and forgotten."""
    torch.manual_seed(0)
    model, (x, y) = Growing(), points()
    model.first.requires_grad_(False)
    optimizer = torch.optim.SGD(model.last.parameters(), 0.1)
    for step in range(60):
        if step == 20:
            model.first.requires_grad_(True)
            if added:
                optimizer.add_param_group({"params": model.first.parameters(), "lr": 0.01})
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("train", [grown, thawed])
@pytest.mark.parametrize("added", [True, False], ids=["added", "forgotten"])
def test_groups_that_are_added_on_the_way_are_held(train, added, tmp_path):
    """A part in a later group is trained; one in none is not, and is named."""
    with firstfault.watch(folder=tmp_path) as watched:
        seen = train(added)
    assert all(watched.record.in_optimizer.values()) == added
    assert all(torch.equal(one, other) for one, other in zip(train(added).parameters(), seen.parameters(), strict=True))


def test_groups_are_listened_to_no_longer_than_the_block(tmp_path):
    """The method is torch's own again."""
    before = torch.optim.Optimizer.add_param_group
    with firstfault.watch(folder=tmp_path):
        assert torch.optim.Optimizer.add_param_group is not before
    assert torch.optim.Optimizer.add_param_group is before


def test_outputs_in_half_precision_and_a_loss_in_full_are_replayed(tmp_path):
    """As where a loop turns what autocast gave into float32 for its loss."""
    torch.manual_seed(0)
    model, (x, y) = Growing(), points()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(40):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                outputs = model(x)
            functional.cross_entropy(outputs.float(), y).backward()
            optimizer.step()
    assert watched.record.steps == 40 and not watched.capture.why_not


class Spectrum(nn.Module):
    """Its outputs are complex numbers, of which torch has no softmax."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        """The spectrum of what the layer gives."""
        return torch.fft.fft(self.layer(x))


def test_what_can_not_be_followed_is_a_reason_and_no_exception(tmp_path):
    """The loop goes on, and the replay is passed over."""
    model, (x, _) = Spectrum(), points()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(12):
            optimizer.zero_grad()
            functional.mse_loss(model(x).abs(), x[:, :4].abs()).backward()
            optimizer.step()
    assert watched.record.steps == 12 and watched.capture.why_not


def test_sparse_gradients_are_judged(tmp_path):
    """The numerics of an embedding with sparse gradients are looked at, and are sound."""
    torch.manual_seed(0)
    x = torch.randint(0, 50, (128, 6))
    model = nn.Sequential(nn.Embedding(50, 8, sparse=True), nn.Flatten(), nn.Linear(48, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    with firstfault.watch(folder=tmp_path) as watched:
        for _ in range(40):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), (x[:, 0] > 25).long()).backward()
            optimizer.step()
    assert finding(watched, Layer.MODEL, "numerically_unstable").status is Status.PASS
