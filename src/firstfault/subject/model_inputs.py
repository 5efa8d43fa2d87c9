"""What this layer looks at: the untrained model on one batch of finite samples, leaving both as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from firstfault.errors import Missing
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.training.one_tensor import call_of, every_answer, parts_of, takes_whole_numbers
from firstfault.training.recipe import Tensors, outputs_of

MATRICES = (nn.Linear, nn.modules.conv._ConvNd, nn.Bilinear)
MOST = 256
"""Rows of a batch, and of a matrix: bounds the time."""
FEWEST_DRAWN, STANDS_OUT = 16, 1.1
"""Rows and columns from which on the largest singular value is judged: of 2,400 drawn matrices none was above 1.055
times its limit, and 200 steps of Adam on digits made it 1.5.
"""


@memo(of="model")
def sound_batch(subject: Subject) -> Tensors:
    """The rows of the batch whose inputs and labels are finite, 256 at most.

    Raises:
        Missing: when there are none, since then the data, and not the model, is to blame.
    """
    batch = subject.batch
    finite = torch.ones(len(batch), dtype=torch.bool, device=batch.x.device)
    for part in (batch.x, batch.y.to(batch.x.device)):
        if part.is_floating_point():
            finite &= torch.isfinite(part.flatten(1) if part.ndim > 1 else part[:, None]).all(1)
    rows = Tensors(batch.x[finite][:MOST], batch.y[finite.to(batch.y.device)][:MOST])
    if len(rows) == 0:
        raise Missing("no sample of the batch is finite, so the model can't be judged on it")
    return rows


@memo(of="model")
def sound_outputs(subject: Subject) -> torch.Tensor:
    """Outputs `(N, …)` of the untrained model on `sound_batch`, in eval mode."""
    return answer(subject.model, sound_batch(subject).x)


def finite_outputs(subject: Subject) -> torch.Tensor:
    """`sound_outputs`, for checks that compare outputs with each other.

    Raises:
        Missing: when they are not finite: NaN differs from itself, and would look like any fault.
    """
    outputs = sound_outputs(subject)
    if not bool(torch.isfinite(outputs).all()):
        raise Missing("the outputs are not finite, which is judged on its own")
    return outputs


def answer(model: Callable[[torch.Tensor], Any], x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Outputs `(N, …)` of a model in the mode it is in, without gradient; the random state stays as it was."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return outputs_of(model(x))


def answer_to_others(model: nn.Module, x: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Outputs `(N, …)` for samples that are changed: they themselves, or the tensors that they are looked up in."""
    call = call_of(model)
    others = None if call is None else call.inputs.changed(change)
    if call is None or others is None:
        return answer(model, change(x))
    return answer(lambda numbers: others.ask(call.forward, numbers, call.answer), x)


def has_outputs_of_pairs(model: nn.Module, x: torch.Tensor) -> bool:
    """Whether there is an output for each pair of samples, so that answers grow with the company of a sample."""
    return answer(model, x).shape[1:] != answer(model, x[:-1]).shape[1:]


def alike(outputs: torch.Tensor) -> bool:
    """Whether the outputs `(N, …)` are the same for every sample."""
    return bool(torch.allclose(outputs, outputs[:1].expand_as(outputs), rtol=1e-5, atol=1e-8))


def ordinary_inputs(subject: Subject) -> torch.Tensor:
    """Inputs on the scale that a network is made for: standard normal numbers, or the tokens themselves.

    A model is not to blame for what only happens on inputs of a wild scale.
    """
    x = sound_batch(subject).x
    if not x.is_floating_point() or embeds(subject.model):
        return x
    generator = torch.Generator().manual_seed(subject.seed)
    return torch.randn(x.shape, generator=generator).to(x)


def embeds(model: nn.Module) -> bool:
    """Whether the model looks its inputs up: tokens in an embedding, or samples that were seen."""
    return takes_whole_numbers(model)


def output_tensors(value: Any) -> Iterator[torch.Tensor]:
    """Every float tensor within what a model returns."""
    if isinstance(value, torch.Tensor):
        if value.is_floating_point():
            yield value
    else:
        for item in parts_of(value):
            yield from output_tensors(item)


def all_outputs(model: nn.Module, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """All outputs of a model, flattened to one vector; the random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.cat([tensor.flatten() for tensor in output_tensors(every_answer(model, x))])


def probe_loss(outputs: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The mean squared distance to random goals: a loss that every model can be trained on, whatever its own is."""
    goals = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(seed)).to(outputs)
    return (outputs - goals).pow(2).mean()


def redrawn(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """The model with every parameter drawn anew: matrices normal, of unit gain; others between 0.1 and 1.1."""
    with torch.no_grad():
        for value in model.parameters():
            drawn = torch.rand(value.shape, generator=generator) + 0.1
            if value.ndim > 1:
                drawn = torch.randn(value.shape, generator=generator) / max(1, value[0].numel()) ** 0.5
            value.copy_(drawn.to(value))
    return model


def run_order(model: nn.Module, x: torch.Tensor) -> list[str]:
    """The names of the modules without children, but for a parametrisation, in the order in which they run."""
    order: list[str] = []
    leaves = [
        (name, module)
        for name, module in model.named_modules()
        if {child for child, _ in module.named_children()} <= {"parametrizations"}
        and "parametrizations" not in name.split(".")
    ]
    handles = [module.register_forward_hook(lambda *_, name=name: order.append(name)) for name, module in leaves]
    try:
        answer(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return order


def weight_layers(model: nn.Module, x: torch.Tensor) -> list[tuple[str, nn.Module]]:
    """The linear and convolutional layers in the order in which they first run, by name."""
    modules = dict(model.named_modules())
    return [(name, modules[name]) for name in dict.fromkeys(run_order(model, x)) if isinstance(modules[name], MATRICES)]


def is_fresh(subject: Subject, names: list[str]) -> list[str]:
    """Those of the named weight matrices that are at random initialisation, and not pre-trained.

    A fresh matrix differs between two builds with different seeds, fills exactly the interval ±1/√fan-in of torch's
    default, or looks drawn: its bias is constant, and no direction stands out of it. Pre-trained weights are equal in
    every build.

    Source: Marchenko & Pastur 1967, the largest singular value of independent entries; Martin & Mahoney 2021, that
        training makes some stand out.
    """
    twin = _other_build(subject)
    return [name for name in names if _fresh(subject.model, name, twin.get(name))]


@memo(of="model")
def _other_build(subject: Subject) -> dict[str, nn.Parameter]:
    """The parameters of the model as it is built with another seed."""
    with torch.random.fork_rng(devices=[]):
        return dict(subject.recipe.build(subject.seed + 1).named_parameters())


def _fresh(model: nn.Module, name: str, other: torch.Tensor | None) -> bool:
    value = model.get_parameter(name).detach()
    if value.ndim < 2:
        return False
    rebuilt = other is not None and other.shape == value.shape and not torch.equal(value, other)
    return rebuilt or is_as_drawn(model, name)


def is_as_drawn(model: nn.Module, name: str) -> bool:
    """Whether a weight matrix fills exactly the interval of torch's default, or looks like independent draws."""
    value = model.get_parameter(name).detach()
    bound = value[0].numel() ** -0.5
    default = value.numel() > 100 and 0.97 * bound < float(value.abs().max()) <= 1.0001 * bound
    return default or _drawn(model.get_submodule(name.rpartition(".")[0]), value)


def _drawn(owner: nn.Module, value: torch.Tensor) -> bool:
    """Whether a matrix looks like independent draws, and the bias beside it has not moved from a constant."""
    bias = getattr(owner, "bias", None)
    if isinstance(bias, torch.Tensor) and bias.numel() > 1 and bool((bias != bias.flatten()[0]).any()):
        return False
    matrix = value.reshape(len(value), -1)[:MOST, :MOST].float()
    if min(matrix.shape) < FEWEST_DRAWN:
        return False
    edge = float(matrix.std()) * (matrix.shape[0] ** 0.5 + matrix.shape[1] ** 0.5)
    return 0.0 < float(torch.linalg.matrix_norm(matrix, 2)) <= STANDS_OUT * edge
