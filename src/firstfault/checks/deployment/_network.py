"""The network behind a served path: the served module, or the one that a served function holds."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import nn

from firstfault.probe.models import MODES_MATTER
from firstfault.subject.serving import served_of
from firstfault.subject.subject import Subject

UNSEEN = "the served network cannot be seen from outside"
DEPTH = 3  # steps from a function to its network, as in method → object → attribute: bounds the search
RTOL, ATOL = 1e-3, 1e-5  # what a file or another layout may round; lower precision is judged on its own
FEWEST_LEVELS = 3  # any two values are on a grid
QUANTISED = "quantize"  # of the names of operations of a graph
LOW_PRECISION = (torch.float16, torch.bfloat16, torch.int8, torch.quint8, torch.qint8)


def network_of(subject: Subject) -> nn.Module | None:
    """The network that answers: the served module, or the only one that the served function holds on to."""
    served = served_of(subject)
    if served.module is not None or served.function is None:
        return served.module  # type: ignore[no-any-return]
    found = list({id(module): module for module in _held(served.function, DEPTH)}.values())
    return found[0] if len(found) == 1 and found[0] is not subject.trained.model else None


def _held(holder: Any, depth: int) -> Iterator[nn.Module]:
    """The networks in what a function closes over, is bound to, or names among its globals."""
    if isinstance(holder, nn.Module):
        yield holder
    elif depth and not isinstance(holder, type | ModuleType) and not type(holder).__module__.startswith("firstfault"):
        for part in _parts(holder):
            yield from _held(part, depth - 1)


def _parts(holder: Any) -> list[Any]:
    if isinstance(holder, functools.partial):
        return [holder.func, *holder.args, *holder.keywords.values()]
    if isinstance(holder, MethodType):
        return [holder.__func__, *getattr(holder.__self__, "__dict__", {}).values()]
    if isinstance(holder, FunctionType):
        given = [*(holder.__defaults__ or ()), *(holder.__kwdefaults__ or {}).values()]
        return [*given, *_closed_over(holder), *(holder.__globals__.get(name) for name in holder.__code__.co_names)]
    return list(holder.values()) if isinstance(holder, dict) else list(getattr(holder, "__dict__", {}).values())


def _closed_over(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue


def in_train_mode(module: nn.Module | None) -> bool:
    """Whether dropout or batch normalisation of a network is in train mode."""
    return module is not None and any(isinstance(child, MODES_MATTER) and child.training for child in module.modules())


def low_precision(module: nn.Module) -> int:
    """How many tensors of a network are in lower precision than float32."""
    return sum(
        1 for value in module.state_dict().values() if isinstance(value, torch.Tensor) and value.dtype in LOW_PRECISION
    )


def is_rounded(module: nn.Module) -> bool:
    """Whether a network computes in lower precision than float32, or is quantised."""
    return (
        low_precision(module) > 0
        or any("quantized" in type(child).__module__ for child in module.modules())
        or QUANTISED in str(getattr(module, "inlined_graph", getattr(module, "graph", "")))
    )


def trained_part(module: nn.Module, trained: nn.Module) -> nn.Module | None:
    """The served network, or the part of it, whose parameters have the names and shapes of the trained ones."""
    wanted = _shapes(trained)
    return next((child for child in module.modules() if _shapes(child) == wanted), None)


def _shapes(module: nn.Module) -> dict[str, Any]:
    return {name: value.shape for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def untrained(subject: Subject, module: nn.Module) -> tuple[list[str], int]:
    """The trained tensors that a served network lacks, and how many there are.

    They are looked for under their names in the part that is built like the trained model, else by value. Statistics of
    batch normalisation are left out where it is served in train mode: each call moves them.
    """
    trained = subject.trained.model
    moving = {id(value) for value in trained.buffers()} if in_train_mode(module) else set()
    kept = dict(trained.named_parameters()) | dict(trained.named_buffers())
    wanted = {
        name: value
        for name, value in trained.state_dict(keep_vars=True).items()
        if isinstance(value, torch.Tensor) and name in kept and id(value) not in moving
    }
    part = trained_part(module, trained)
    if part is not None:
        served = part.state_dict()
        return [name for name, value in wanted.items() if not _close(value, served[name])], len(wanted)
    values = [value for value in module.state_dict().values() if isinstance(value, torch.Tensor)]
    return [
        name
        for name, value in wanted.items()
        if not any(value.shape == other.shape and _close(value, other) for other in values)
    ], len(wanted)


def quantised(subject: Subject, module: nn.Module, absent: list[str]) -> bool:
    """Whether the tensors that a served network seems to lack are the trained ones on a grid, within a step of it."""
    part = trained_part(module, subject.trained.model)
    if part is None or not absent:
        return False
    trained, served = subject.trained.model.state_dict(), part.state_dict()
    return all(_is_rounded_to_grid(trained[name], served[name]) for name in absent)


def _is_rounded_to_grid(trained: torch.Tensor, served: torch.Tensor) -> bool:
    """Whether served values are multiples of a step, of the tensor or of each row, next to the trained ones."""
    a, b = trained.detach().cpu().double(), served.detach().cpu().double()
    rows = [(a.reshape(1, -1), b.reshape(1, -1)), (a.reshape(len(a), -1), b.reshape(len(b), -1))] if a.ndim else []
    return any(all(map(_is_on_grid, first, second)) for first, second in rows)


def _is_on_grid(trained: torch.Tensor, served: torch.Tensor) -> bool:
    levels = torch.unique(served)
    if len(levels) < FEWEST_LEVELS:
        return False
    steps = levels.diff()
    step = steps[steps > 1e-3 * steps.max()].min()  # a smaller one is the rounding of float32
    places = (levels - levels[0]) / step
    return bool((places - places.round()).abs().max() < 0.05 and (trained - served).abs().max() <= step)


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a.detach().float(), b.detach().to(a.device).float(), rtol=RTOL, atol=ATOL))
