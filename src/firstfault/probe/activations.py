"""Outputs and attention weights of modules and functions on a sampled step, as a handful of numbers each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from firstfault.probe.functional_calls import FunctionalCalls
from firstfault.probe.hook import Hook
from firstfault.probe.record import Activations, Attention, Record
from firstfault.probe.samples import Samples, stride
from firstfault.probe.transform_guard import readable, transforming
from firstfault.training.tensors import tensors_in

MOST_VALUES = 4096
"""Of an output: a share of them errs by 0.008 at most."""
MOST_SHOWN = 32
"""Positions a side of an attention pattern that is kept to be looked at."""
SATURATED = 5.0
"""The input of a unit beyond which it hardly learns: the slope of a tanh is 0.0002 there, that of a sigmoid 0.007."""
BOUNDED: dict[str, tuple[float, float]] = {
    "Tanh": (0.0, math.tanh(SATURATED)),
    "Sigmoid": (0.5, math.tanh(SATURATED / 2) / 2),
    "Softsign": (0.0, SATURATED / (1 + SATURATED)),
    "Hardsigmoid": (0.5, 0.4999),
    "Hardtanh": (0.0, 0.9999),
}
"""By kind, the middle of its values, and how far from it those lie that an input of ±5 gives, or one at its bound."""
LASTING = 5
"""Batches: a unit that fires for 1 % of the samples is silent through five of 64 samples once in 25 times."""
MOST_SEEN = 4096
"""Outputs kept between two steps: bounds the memory."""
RECTIFIERS = ("ReLU", "ReLU6")
Seen = tuple[str, str, torch.Tensor, torch.Tensor | None]  # name, kind, some values, the largest value of each unit


class Looker:
    """Hooks on the modules of the models while one step is sampled; what they saw is kept as tensors until `pull`."""

    def __init__(
        self, record: Record, samples: Samples | None = None, drops: Callable[[nn.Module], None] = lambda model: None
    ) -> None:
        self.record, self.samples = record, samples
        self._handles: list[Any] = []
        self._silent: dict[tuple[str, int], tuple[np.ndarray[Any, Any], int]] = {}
        self._seen: list[Seen] = []
        self._attention: list[tuple[str, torch.Tensor]] = []
        self._functions = FunctionalCalls(
            self._look,
            lambda name, weights: self._attention.append((name, weights)),
            drops,
            lambda reason: record.passed_over.setdefault("functions", reason),
        )

    def begin(self, leaves: list[tuple[str, nn.Module]], attentions: list[tuple[str, nn.Module]]) -> None:
        """Look at the outputs of these modules from now on."""
        self._handles = [module.register_forward_hook(self._leaf(name)) for name, module in leaves]
        self._handles += [
            module.register_forward_hook(self._attends(name), with_kwargs=True) for name, module in attentions
        ]
        self._functions.begin(leaves, attentions)

    def end(self) -> None:
        """Look no longer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._functions.end()

    def _leaf(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            value = outputs if isinstance(outputs, torch.Tensor) else next(tensors_in(outputs), None)
            if value is not None and value.is_floating_point() and value.numel() > 1 and torch.is_grad_enabled():
                self._look(name, type(module).__name__, value.detach())

        return Hook(hook)

    def _look(self, name: str, kind: str, value: torch.Tensor) -> None:
        # a loop may call its model again and again, and make no step
        if len(self._seen) < MOST_SEEN and readable(value):
            self._seen.append((name, kind, _sample(value), _largest(value) if kind in RECTIFIERS else None))

    def _dead(self, name: str, largest: np.ndarray[Any, Any]) -> float:
        """The share of units that were silent for all samples of the last 5 batches that were looked at."""
        silent = largest == 0
        runs, seen = self._silent.get((name, len(silent)), (np.zeros(len(silent), int), 0))
        runs = (runs + 1) * silent
        self._silent[name, len(silent)] = runs, seen + 1
        return float(np.mean(runs >= min(LASTING, seen + 1)))

    def _attends(self, name: str) -> Any:
        def hook(module: Any, args: Any, kwargs: Any, outputs: Any) -> None:
            if (
                torch.is_grad_enabled()
                and len(args) + len(kwargs) >= 3
                and len(self._attention) < MOST_SEEN
                and not transforming()
            ):
                with torch.no_grad():
                    weights = _weights(module, args, kwargs)
                    if weights is not None:
                        self._attention.append((name, weights))

        return Hook(hook)

    def pull(self, step: int) -> None:
        """Turn what was seen into numbers of the record."""
        if self._seen and self.samples is not None:
            self.samples.take("activations", ((name, values) for name, _, values, _ in self._seen))
        for (name, kind, _, largest), numbers in zip(self._seen, _numbers(self._seen), strict=True):
            entry = self.record.activations.get(name)
            if entry is None:
                entry = self.record.activations[name] = Activations(kind)
            for series, number in zip(
                (entry.mean, entry.std, entry.zero, entry.beyond, entry.largest), numbers, strict=True
            ):
                series.add(step, number)
            entry.dead.add(step, math.nan if largest is None else self._dead(name, largest.float().cpu().numpy()))
        for name, weights in self._attention:
            entry_ = self.record.attention.setdefault(name, Attention())
            entry_.entropy.add(step, relative_entropy(weights))
            entry_.pattern = weights.mean(0)[:MOST_SHOWN, :MOST_SHOWN].tolist()
        self._seen, self._attention = [], []


def _sample(value: torch.Tensor) -> torch.Tensor:
    """At most 4,096 values, evenly strided."""
    return value.reshape(-1)[:: stride(value.numel(), MOST_VALUES)].to(torch.float32, copy=True)


def _largest(value: torch.Tensor) -> torch.Tensor:
    """The largest output of each unit: the last axis, or the channels of images `(N, C, H, W)`, holds the units."""
    if value.ndim == 4:
        return value.amax((0, 2, 3))
    return value.amax(tuple(range(value.ndim - 1))) if value.ndim > 1 else value.amax().reshape(1)


def _numbers(seen: Sequence[Seen]) -> list[list[float]]:
    """For each output: mean, standard deviation, share of zeros, share far from the middle, and the largest size of its
    values.
    """
    if not seen:
        return []
    parts = [values for _, _, values, _ in seen]
    alike = len({part.device for part in parts}) == 1
    values = torch.cat(parts if alike else [part.cpu() for part in parts]).cpu().numpy()
    counts = np.array([len(part) for part in parts])
    starts = np.cumsum(counts) - counts
    middle, limit = np.array([BOUNDED.get(kind, (0.0, SATURATED)) for _, kind, _, _ in seen], np.float32).T
    with np.errstate(all="ignore"):  # what is not finite comes out as it is
        mean = np.add.reduceat(values, starts, dtype=float) / counts
        away = values - np.repeat(mean, counts).astype(np.float32)
        beyond = np.abs(values - np.repeat(middle, counts)) > np.repeat(limit, counts)
        std = np.sqrt(np.add.reduceat(away * away, starts, dtype=float) / counts)
        zero, beyond = (np.add.reduceat(share, starts, dtype=int) / counts for share in (values == 0, beyond))
        largest = np.maximum.reduceat(np.abs(values), starts)
        return np.stack([mean, std, zero, beyond, largest], 1).tolist()  # type: ignore[no-any-return]


def _weights(module: Any, args: Any, kwargs: Any) -> torch.Tensor | None:
    """The attention weights `(heads, queries, keys)` of the first sample of a call of `nn.MultiheadAttention`."""
    query, key = (kwargs.get("query", args[0] if args else None), kwargs.get("key", args[1] if len(args) > 1 else None))
    if query is None or key is None or query.ndim != 3 or module.in_proj_weight is None:
        return None
    query, key = (x[:1] if module.batch_first else x[:, :1].transpose(0, 1) for x in (query, key))
    q_weight, k_weight, _ = module.in_proj_weight.chunk(3)
    q_bias, k_bias, _ = module.in_proj_bias.chunk(3) if module.in_proj_bias is not None else (None, None, None)
    q = _heads(nn.functional.linear(query, q_weight, q_bias), module.num_heads)
    k = _heads(nn.functional.linear(key, k_weight, k_bias), module.num_heads)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    mask = kwargs.get("attn_mask", args[5] if len(args) > 5 else None)
    if mask is not None and mask.ndim == 2:
        scores = scores.masked_fill(mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


def _heads(values: torch.Tensor, heads: int) -> torch.Tensor:
    """`(1, L, D)` as `(heads, L, D / heads)`."""
    return values[0].reshape(values.shape[1], heads, -1).transpose(0, 1)


def relative_entropy(weights: torch.Tensor) -> float:
    """The mean entropy of attention weights `(heads, queries, keys)`, relative to that of even weights over the visible
    keys.
    """
    entropy = -(weights * weights.clamp_min(1e-12).log()).sum(-1)
    most = (weights > 0).sum(-1).clamp_min(2).log()
    return float((entropy / most).mean())
