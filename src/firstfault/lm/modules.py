"""Where in a network two language models part: the first module whose output differs, and what their settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from torch import nn

from firstfault.lm.network import log_probs

APART = 1e-3
"""Of the largest value, from which on two outputs differ: float32 kernels stay two orders below."""
HALF_RANGE = 65_504.0
"""The largest number of float16."""
ROTARY = ("rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "rotary_emb_base")
"""The settings of rotary positions, by the names of transformers."""
ROUNDED = 1e-2
"""Of a frequency: bfloat16 rounds it by 4e-3, and another base or scale changes most of them by far more."""


def outputs_by_module(model: nn.Module, ids: Sequence[int]) -> dict[str, torch.Tensor]:
    """The first tensor of each module's output, in the order in which they are done, of one forward pass."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple | list) and output else output
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                found.setdefault(name, value.detach().float())

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    try:
        log_probs(model, ids)
    finally:
        for handle in handles:
            handle.remove()
    return found


def first_difference(model: nn.Module, other: nn.Module, ids: Sequence[int], apart: float = APART) -> str:
    """The name of the first module whose output differs between two models; empty where none does."""
    here, there = outputs_by_module(model, ids), outputs_by_module(other, ids)
    for name, value in here.items():
        known = there.get(name)
        if known is None:
            continue
        if known.shape != value.shape:
            return name
        scale = max(float(known.abs().max()), 1e-6)
        if not torch.isfinite(value).all() or float((value - known).abs().max()) > apart * scale:
            return name
    return ""


def largest_activation(model: nn.Module, ids: Sequence[int]) -> tuple[float, str]:
    """The largest magnitude that a module gives, and its name; infinity where one is no number."""
    worst, where = 0.0, ""
    for name, value in outputs_by_module(model, ids).items():
        largest = float(value.abs().max().nan_to_num(torch.inf)) if value.numel() else 0.0
        if largest > worst:
            worst, where = largest, name
    return worst, where


def tied(model: nn.Module) -> bool:
    """Whether a model's settings tie its head to its embedding."""
    return bool(getattr(getattr(model, "config", None), "tie_word_embeddings", False))


def head_apart_from_embedding(model: nn.Module) -> float | None:
    """How far head and embedding are apart, of the largest weight; None where they can't be compared."""
    head, embedding = (
        getattr(model, name, lambda: None)() for name in ("get_output_embeddings", "get_input_embeddings")
    )
    pair = [
        each.detach() for each in (getattr(head, "weight", None), getattr(embedding, "weight", None)) if _held(each)
    ]
    if len(pair) < 2 or pair[0].shape != pair[1].shape:
        return None  # quantised layers hold packed weights
    first, second = pair
    if first.data_ptr() == second.data_ptr():
        return 0.0
    return float((first - second).abs().max()) / max(float(second.abs().max()), 1e-9)


def _held(value: Any) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor)


def other_rotary_settings(model: nn.Module, other: nn.Module) -> list[str]:
    """The names of the settings of rotary positions that two models do not share; none where one has no such."""
    here, there = _frequencies(model), _frequencies(other)
    if here is None or there is None:
        return []
    settings = [getattr(each, "config", None) for each in (model, other)]
    names = [name for name in ROTARY if len({str(getattr(config, name, None)) for config in settings}) > 1]
    same = here.shape == there.shape and torch.allclose(here, there, rtol=ROUNDED)
    return names if same else [*names, "inv_freq"]


def _frequencies(model: nn.Module) -> torch.Tensor | None:
    """The rotary frequencies in the buffers of a model."""
    names = (value for name, value in model.named_buffers() if name.rpartition(".")[2] == "inv_freq")
    found = next(names, None)
    return found.detach().float() if found is not None else None


def other_parameters(model: nn.Module, other: nn.Module) -> list[str]:
    """The names of the parameters whose values are not those of the other model."""
    known = dict(other.named_parameters())
    found = []
    for name, value in model.named_parameters():
        there = known.get(name)
        if there is None or there.shape != value.shape or not _near(value, there):
            found.append(name)
    return found


def _near(value: torch.Tensor, there: torch.Tensor) -> bool:
    """Whether two parameters agree within what the coarser of their number formats can tell."""
    first, second = value.detach(), there.detach()
    step = max(torch.finfo(each.dtype).eps if each.is_floating_point() else 1.0 for each in (first, second))
    return torch.allclose(first.float().cpu(), second.float().cpu(), rtol=4 * step, atol=1e-6)


def number_format(model: nn.Module) -> str:
    """The precision in which a model computes, as its parameters and modules say it."""
    names = {type(module).__module__ for module in model.modules()}
    if any("quantized" in name or "bitsandbytes" in name for name in names):
        return "int8"
    kinds = [str(value.dtype).removeprefix("torch.") for value in model.parameters()]
    return max(set(kinds), key=kinds.count) if kinds else "float32"
