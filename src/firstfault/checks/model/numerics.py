"""Where is the first number born that is not finite? Finite inputs, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from firstfault.check import Judgement, check, passed
from firstfault.finding import Layer, Status
from firstfault.place import Kind, Place
from firstfault.probe.nonfinite_passes import finite
from firstfault.subject.model_inputs import embeds, output_tensors, sound_batch
from firstfault.subject.subject import Subject
from firstfault.training.torch_calls import followed, name_of

PRODUCTS = ("linear", "conv1d", "conv2d", "conv3d", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum")


class _FirstNonFinite(TorchFunctionMode):
    """Notes the first torch function that makes a non-finite float tensor of finite ones, and its module.

    It notes the first that makes NaN, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.birth: tuple[str, str] | None = None
        self.first_nan: str | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.first_nan is None and any(bool(torch.isnan(value).any()) for value in output_tensors(result)):
            self.first_nan = name_of(func)
        bad = self.birth is None and any(not bool(torch.isfinite(value).all()) for value in output_tensors(result))
        if bad and all(bool(torch.isfinite(value).all()) for value in output_tensors(list(args))):
            name = name_of(func)
            if name not in (
                "full",
                "masked_fill",
                "where",
                "empty",
                "empty_like",
                "new_full",
                "triu",
                "get",
                "to",
                "fill",
            ):
                self.birth = (name, self.inside[-1] if self.inside else "")
        return result


def birthplace(model: nn.Module, x: torch.Tensor) -> tuple[bool, Place, str | None]:
    """Whether the outputs are finite, else where the first bad number is born, and the function that gives a NaN."""
    spy = _FirstNonFinite()
    with followed(model, spy.inside), torch.no_grad(), torch.random.fork_rng(devices=[]), spy:
        result = model(x)
    sound = all(bool(torch.isfinite(value).all()) for value in output_tensors(result))
    function, module_name = spy.birth or ("forward", "")
    place = Place(Kind.MODULE, (module_name,)) if module_name else Place.part(f"{function}() in forward")
    return sound, place, spy.first_nan


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"numerically_unstable": 0.92})
def numerically_unstable(subject: Subject, *, stress: float = 1000.0) -> Iterator[Judgement]:
    """Find NaN or infinity that finite inputs give, and name the function in which it is born.

    Measures: whether outputs and gradients are finite, in eval mode, forward on the batch and then backward (the root
        of 0 has an infinite slope); and whether inputs `stress` times as large give NaN, as exp(x) / exp(x).sum() does.
    Fails when: any is not finite, or larger inputs give NaN, which is a symptom only.
    Warns when: larger inputs give NaN where a weight layer adds up infinities of both signs, as after the exponential
        in a variational autoencoder.
    Source: Humbatova et al. 2020; PyTorch's anomaly detection names the same operations. `stress` is a choice of ours:
        exp overflows in float32 above 88, which inputs on a wild scale reach.
    """
    x = sound_batch(subject).x
    sound, where, _ = birthplace(subject.fresh_model().eval(), x)
    if not sound:
        yield _unstable("finite inputs give outputs that are not finite", where, 0.92)
        return
    parameter = _bad_gradient(subject, x)
    if parameter:
        yield _unstable(f"the gradient of {parameter} is not finite", Place.parameters(parameter), 0.9)
        return
    if x.is_floating_point() and not embeds(subject.model):
        model = subject.fresh_model().eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            stressed = list(output_tensors(model(x * stress)))
        if any(bool(torch.isnan(value).any()) for value in stressed):
            _, where, first = birthplace(model, x * stress)
            summed = first in PRODUCTS
            yield _unstable(
                f"inputs {stress:.0f} times as large give NaN", where, 0.6, Status.WARN if summed else Status.FAIL
            )
            return
    yield passed("finite inputs give finite outputs and gradients")


def _bad_gradient(subject: Subject, x: torch.Tensor) -> str | None:
    model = subject.fresh_model().eval()
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        total = torch.stack([value.float().sum() for value in output_tensors(model(x))]).sum()
        if not named or not total.requires_grad:
            return None
        found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    bad = [name for name, grad in zip(named, found, strict=True) if grad is not None and not finite(grad)]
    return bad[-1] if bad else None


def _unstable(text: str, where: Place | None, weight: float, status: Status = Status.FAIL) -> Judgement:
    return Judgement(
        status,
        text,
        where=where,
        faults={"numerically_unstable": weight},
        fix="clamp before log, root and division, or use the stable form (log_softmax, logsumexp, log1p)",
    )
