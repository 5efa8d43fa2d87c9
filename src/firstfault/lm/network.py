"""Calling the network of a causal language model: ids, mask and positions in, logits or log-probabilities out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from firstfault.training.embeddings import embedding_of

LOWEST = -1e30
"""What stands for a log-probability that is no number or minus infinity, so that a divergence stays a number."""


@contextmanager
def evaluated(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode and without gradients; its modes are put back."""
    modes = {name: module.training for name, module in model.named_modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        for name, module in model.named_modules():
            module.training = modes.get(name, module.training)


CACHES = ("cache", "past_key_values")
"""What transformers calls the cache, the newer name first."""


def call(model: nn.Module, inputs: Mapping[str, Any], *, state: Any = None, **more: Any) -> Any:
    """The model's output for inputs by name; a network that names none of them gets the ids alone.

    `state` is the cache that an earlier call returned (`state_of`).
    """
    names = inspect.signature(model.forward).parameters
    if state is not None:
        more[next((name for name in CACHES if name in names), CACHES[1])] = state
    several = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in names.values())
    given = {name: value for name, value in {**inputs, **more}.items() if name in names or several}
    if "input_ids" not in names and not (several and hasattr(model, "config")):
        given.pop("input_ids", None)
        return model(inputs["input_ids"], **{name: value for name, value in given.items() if name in names})
    return model(**given)


def state_of(output: Any) -> Any:
    """The cache in what a model returns; None where it keeps none."""
    return next((found for name in CACHES if (found := getattr(output, name, None)) is not None), None)


def logits_of(output: Any) -> torch.Tensor:
    """The logits `(N, T, V)` in what a model returns."""
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if found is None:
        found = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(found, torch.Tensor) or found.ndim != 3:
        raise TypeError("a language model must return logits (N, T, V), or an object with `logits`")
    return found


def log_probs(model: nn.Module, ids: Sequence[int], **inputs: Any) -> torch.Tensor:
    """Log-probabilities `(T, V)` in float32 of the token behind each of the ids."""
    tensor = torch.tensor([list(ids)], device=device_of(model))
    with evaluated(model):
        return logits_of(call(model, {"input_ids": tensor, **inputs}))[0].float().log_softmax(-1)


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters of a model are."""
    return next((value.device for value in model.parameters()), torch.device("cpu"))


def divergence(reference: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The Kullback-Leibler divergence `(T,)` of two tables of log-probabilities `(T, V)`, position by position.

    Rows that only one vocabulary has are left out; what is no number counts as a token without probability.
    """
    width = min(reference.shape[-1], other.shape[-1])
    first, second = (
        values[..., :width].double().nan_to_num(LOWEST, neginf=LOWEST).log_softmax(-1) for values in (reference, other)
    )
    return (first.exp() * (first - second)).sum(-1).clamp_min(0)


def positions_from(mask: torch.Tensor) -> torch.Tensor:
    """Positions `(N, T)` that begin at the first token which is no padding, as `generate` makes them."""
    positions = mask.long().cumsum(-1) - 1
    return positions.masked_fill(mask == 0, 1)


def vocabulary_of(model: nn.Module) -> int:
    """How many ids a network knows: the rows of its embedding."""
    embedding = embedding_of(model)
    return int(embedding.num_embeddings) if embedding is not None else 2**31
