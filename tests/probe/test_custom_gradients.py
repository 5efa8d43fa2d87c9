"""Backward passes by hand, held against the differences of their forward passes."""

import pytest
import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional as F

import firstfault
from firstfault.finding import Status


def derivative(x):
    s = torch.sigmoid(x)
    return s + x * s * (1 - s)


class Swish(Function):
    """x · sigmoid(x), without a backward pass."""

    @staticmethod
    def forward(x):
        return x * torch.sigmoid(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)


def swish(slope):
    """The function with a backward pass of that slope; a class of its own, as torch needs the method there."""

    class Own(Swish):
        @staticmethod
        def backward(ctx, grad):
            return grad * slope(ctx.saved_tensors[0])

    return Own


class Rounded(Function):
    """Eighths, through which the gradient passes straight."""

    @staticmethod
    def forward(ctx, x):
        return (x * 8).round() / 8

    @staticmethod
    def backward(ctx, grad):
        return grad


class Reversed(Function):
    """The gradient the other way."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -0.3 * grad


class Least(Function):
    """At least 0.1, and the gradient where it leads up from there."""

    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0.1)

    @staticmethod
    def backward(ctx, grad):
        return grad


class Affine(Function):
    """A linear layer whose weight learns the wrong way, where `sign` is -1."""

    sign = 1

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad @ weight, Affine.sign * grad.T @ x


class Stepped(Function):
    """Multiples of a learnt step, whose gradient is made to fit the rounding that is passed through (LSQ)."""

    @staticmethod
    def forward(ctx, x, step):
        ctx.save_for_backward(x / step)
        return (x / step).round() * step

    @staticmethod
    def backward(ctx, grad):
        (ratio,) = ctx.saved_tensors
        return grad, (grad * (ratio.round() - ratio)).sum().reshape(1)


class Net(nn.Module):
    """Two layers with a function between them."""

    def __init__(self, function):
        super().__init__()
        self.function, self.first, self.last = function, nn.Linear(6, 12), nn.Linear(12, 3)
        self.weight, self.step = nn.Parameter(torch.eye(12)), nn.Parameter(torch.tensor([1.0]))

    def forward(self, x):
        hidden = self.first(x)
        given = {Affine: [self.weight], Stepped: [self.step]}.get(self.function, [])
        return self.last(self.function.apply(hidden, *given))


def watched(folder, function):
    """A few steps of a network with that function."""
    torch.manual_seed(0)
    model, x = Net(function), torch.randn(40, 6)
    y = x[:, :3].argmax(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with firstfault.watch(folder=folder) as seen:
        for _ in range(12):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return seen


@pytest.mark.parametrize(
    ("function", "off"),
    [
        (swish(derivative), 0.0),
        (swish(lambda x: -derivative(x)), 1.0),
        (swish(lambda x: 0.3 * derivative(x)), 1.0),
        (Least, 0.0),
        (Affine, 0.0),
        (Rounded, None),
        (Reversed, None),
        (Stepped, None),
    ],
    ids=["right", "sign", "scale", "clamp", "two inputs", "rounding", "reversal", "learnt step"],
)
def test_a_backward_pass_is_held_against_differences(function, off, tmp_path):
    """Where the forward pass moves smoothly; what is passed straight through or reversed on purpose is no fault."""
    forward = function.forward
    seen = watched(tmp_path, function)
    assert [each.off for each in seen.record.backward_by_hand] == [off] * (off is not None)
    assert function.forward is forward


def test_a_wrong_backward_pass_is_named_with_its_line(monkeypatch, tmp_path):
    """A weight that learns the wrong way is found beside inputs whose gradient is right."""
    monkeypatch.setattr(Affine, "sign", -1)
    seen = watched(tmp_path, Affine)
    verdict = seen.verdict(swaps=False)
    assert (verdict.faults[0].fault, str(verdict.first_faulty_layer)) == ("wrong_gradient", "model")
    line = Affine.backward.__code__.co_firstlineno + 1  # below its decorator
    assert verdict.faults[0].where[0].line == line
    assert Status.FAIL in {each.status for each in verdict.layers[-1].findings if each.check == "wrong_gradient"}
