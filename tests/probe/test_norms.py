"""Norms on the sampled steps: whole tensors exactly, large ones from a part of them."""

import pytest
import torch
from torch import nn

import firstfault


def norms(model, x, folder):
    """By parameter: the norm of the weights and the relative update that the probe saw in the first step, and what they
    were.
    """
    seen, true = {}, {}
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    with firstfault.watch(folder=folder) as watched:
        model(x).square().mean().backward()
        optimizer.step()
    for name, value in model.named_parameters():
        entry = watched.record.parameters[name]
        seen[name] = entry.gradient[0], entry.weight[0], entry.update[0]
        size = float(before[name].norm())
        true[name] = float(value.grad.norm()), size, float((value.detach() - before[name]).norm()) / size
    return seen, true


def test_norms_of_small_tensors_are_exact(tmp_path):
    """Of up to 16,384 values, all count."""
    torch.manual_seed(0)
    seen, true = norms(nn.Sequential(nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 1)), torch.randn(32, 128), tmp_path)
    assert all(seen[name] == pytest.approx(true[name], rel=1e-4) for name in true)


@pytest.mark.parametrize(
    "model, x",
    [
        (nn.Sequential(nn.Linear(700, 900), nn.Tanh(), nn.Linear(900, 1)), torch.ones(4, 700).normal_()),
        (nn.Sequential(nn.Linear(50_000, 3), nn.Tanh()), torch.ones(4, 50_000).normal_()),
        (
            nn.Sequential(nn.Conv2d(3, 256, 7), nn.Tanh()).to(memory_format=torch.channels_last),
            torch.ones(2, 3, 12, 12).normal_(),
        ),
    ],
    ids=["wide", "few-rows", "convolution"],
)
def test_norms_of_large_tensors_are_estimated(model, x, tmp_path):
    """The gradient's norm is exact; those of weights and updates are within 5 %, whatever the shape of the tensor."""
    seen, true = norms(model, x, tmp_path)
    for name in true:
        assert seen[name][0] == pytest.approx(true[name][0], rel=1e-3) and seen[name][1:] == pytest.approx(
            true[name][1:], rel=0.05
        )


class Odd(nn.Module):
    """A part that is empty, one of a single number, one of complex numbers, one without values, and nested outputs."""

    def __init__(self):
        super().__init__()
        self.none, self.one = nn.Parameter(torch.empty(0)), nn.Parameter(torch.tensor(2.0))
        self.turned, self.across = (
            nn.Parameter(torch.randn(6, 6, dtype=torch.cfloat)),
            nn.Parameter(torch.randn(6, 6).t()),
        )
        self.shapes, self.inner = nn.Linear(6, 3, device="meta"), nn.Linear(6, 6)

    def forward(self, x):
        self.shapes(torch.empty(2, 6, device="meta"))
        x = self.inner(torch.nested.nested_tensor([x[:1], x[1:]], layout=torch.jagged)).values()
        return ((x @ self.across).to(torch.cfloat) @ self.turned).real * self.one + self.none.sum()


def test_odd_parameters_and_outputs_are_no_obstacle(tmp_path):
    """Norms of what has values are those of the whole; what has none is left out."""
    torch.manual_seed(0)
    model = Odd()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    size = float(model.turned.detach().abs().square().sum().sqrt())
    with firstfault.watch(folder=tmp_path) as watched:
        model(torch.randn(4, 6)).square().mean().backward()
        optimizer.step()
    seen = watched.record.parameters
    assert (
        seen["turned"].weight[0] == pytest.approx(size, rel=1e-4)
        and seen["one"].weight[0] == 2.0
        and seen["none"].weight[0] == 0.0
    )
    assert watched.record.first_nonfinite is None and "shapes.weight" not in watched.record.moved


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_norms_in_other_precisions(dtype, tmp_path):
    """A norm that half precision can not hold is finite, and exact to the precision of the values."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 150), nn.ReLU(), nn.Linear(150, 3)).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), 1e-9)
    with firstfault.watch(folder=tmp_path) as watched:
        model(torch.randn(16, 200, dtype=dtype) * 100).float().square().sum().backward()
        optimizer.step()
    true = float(model[2].weight.grad.double().norm())
    assert 65_504 < true < float("inf") and watched.record.parameters["2.weight"].gradient[0] == pytest.approx(
        true, rel=0.01
    )
    assert watched.record.first_nonfinite is None


BY_NAME = nn.utils.clip_grad_norm_  # as a script knows it that imported it before it was watched


def clipped(most, folder, *, clip=BY_NAME, parts=1, steps=100, rate=0.1):
    """A training whose gradients are clipped, in one or several groups.

    The norms that they had, and the verdict's faults.
    """
    torch.manual_seed(0)
    model, true = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3)), []
    optimizer = torch.optim.SGD(model.parameters(), rate)
    with firstfault.watch(folder=folder, every=1) as watched:
        for number in range(steps):
            x = torch.randn(32, 6, generator=torch.Generator().manual_seed(number))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
            true.append(float(torch.cat([value.grad.flatten() for value in model.parameters()]).norm()))
            values = list(model.parameters())
            for first in range(parts):
                clip(values[first::parts], most)
            optimizer.step()
    return watched, true


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("style", ["imported before", "by module"])
def test_norms_are_those_before_clipping(style, parts, tmp_path):
    """Whatever name the script has for it, and whether all parameters are clipped at once."""

    def late(values, most):
        return nn.utils.clip_grad_norm_((value for value in values), max_norm=most)

    watched, true = clipped(0.05, tmp_path, clip=BY_NAME if style == "imported before" else late, parts=parts, steps=20)
    assert watched.record.grad_norm.values == pytest.approx(true, rel=1e-3)
    assert max(watched.record.clipped.values) == pytest.approx(0.05 * parts**0.5, rel=1e-3)


def by_value(values, most):
    nn.utils.clip_grad_value_(values, most)


@pytest.mark.parametrize("clip", [BY_NAME, by_value], ids=["norm", "value"])
@pytest.mark.parametrize(("most", "fault"), [(1e-5, "gradient_clipped_away"), (1.0, None)])
def test_clipping_that_leaves_nothing_is_told_from_an_ordinary_one(most, fault, clip, tmp_path):
    """The norm that is left is known, in a loop that was only watched."""
    watched, _ = clipped(most, tmp_path, clip=clip)
    found = [each.fault for each in watched.verdict(swaps=False).faults]
    assert (fault in found) if fault else found == []
