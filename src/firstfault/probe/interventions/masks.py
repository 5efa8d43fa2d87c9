"""Other attention: padding is masked, where a model takes a mask, and in torch's own calls that attend."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from firstfault.probe.interventions.hooks import around_models, replaced
from firstfault.probe.interventions.intervention import Done, intervention
from firstfault.probe.token_targets import is_tokens
from firstfault.training.padding import padding_token
from firstfault.training.tensors import tensors_in

TAKEN = {"attention_mask": False, "src_key_padding_mask": True, "key_padding_mask": True}
"""The names by which a model takes a mask of padding, and whether that says what is left out, or what is kept."""
HIDDEN = -1e4
"""A score below this gives no weight: it is masked already."""


class _Padding:
    """The padding `(N, T)` of what the model that is called now was given, if any."""

    def __init__(self, done: Done) -> None:
        self.done = done
        self.padded: torch.Tensor | None = None
        self._tokens: dict[int, int] = {}

    def given(self, model: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """A model is about to be called: what it takes for a mask is given to it."""
        self.padded = self._found(model, args, kwargs)
        if self.padded is None:
            return None
        name = _free(model, args, kwargs)
        if name is None:
            return None
        self.done.note(f"{type(model).__name__} is given {name}", name)
        return args, {**kwargs, name: self.padded if TAKEN[name] else (~self.padded).long()}

    def _found(self, model: nn.Module, args: Any, kwargs: Any) -> torch.Tensor | None:
        for tokens in tensors_in((args, kwargs)):
            if not is_tokens(tokens):
                continue
            token = padding_token(tokens, model)
            token = self._tokens.get(id(model)) if token is None else token  # a short batch does not tell
            if token is not None:
                self._tokens[id(model)] = token
                return tokens == token
        return None

    def of(self, rows: int, keys: int) -> torch.Tensor | None:
        """The padding of an attention over so many keys; rows that are nothing but padding stay as they are."""
        padded = self.padded
        if padded is None or padded.shape != (rows, keys) or not bool(padded.any()):
            return None
        return padded & ~padded.all(1, keepdim=True)

    def note(self, name: str) -> None:
        """A call of this name attends with a mask that it had not."""
        self.done.note(f"{name}: padding masked", name)


def _free(model: nn.Module, args: Any, kwargs: Any) -> str | None:
    """The argument of a model that is a mask of padding, and was not given."""
    try:
        parameters = inspect.signature(model.forward).parameters
        bound = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return None
    return next((name for name in TAKEN if name in parameters and bound.get(name) is None), None)


@intervention(change="padding masked in attention", undoes=("padding_not_masked",), keeps_loss=False, acquits=False)
def padding_masked(done: Done) -> Iterator[None]:
    """Attention gives padding no weight: by the model's own argument, and in every call that has no mask of keys."""
    padding = _Padding(done)

    def heads(attend: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = inspect.signature(attend).bind(*args, **kwargs)
        padded = padding.of(bound.arguments["query"].shape[1], bound.arguments["key"].shape[0])
        if padded is None or bound.arguments.get("key_padding_mask") is not None:
            return attend(*args, **kwargs)
        padding.note("MultiheadAttention")
        bound.arguments["key_padding_mask"] = _like(padded, bound.arguments.get("attn_mask"))
        return attend(*bound.args, **bound.kwargs)

    def scaled(attend: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = dict(zip(("query", "key", "value", "attn_mask"), args, strict=False)) | kwargs
        padded = padding.of(len(given["key"]), given["key"].shape[-2])
        if padded is None or len(args) > 4 or given.get("attn_mask") is not None:
            return attend(*args, **kwargs)
        padding.note("scaled_dot_product_attention")
        query, key = given["query"], given["key"]
        kept = ~padded.reshape(len(padded), *(1 for _ in range(key.ndim - 2)), -1)
        if given.pop("is_causal", False):
            kept = kept & torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=key.device).tril()
        return attend(**{**given, "attn_mask": kept})

    def softmax(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        scores = args[0] if args else kwargs.get("input")
        masked = _scores_masked(padding, scores)
        if masked is None:
            return function(*args, **kwargs)
        padding.note("softmax of attention")
        return function(masked, *args[1:], **kwargs) if args else function(**{**kwargs, "input": masked})

    with contextlib.ExitStack() as stack:
        stack.enter_context(around_models(padding.given))
        stack.enter_context(replaced(functional, "multi_head_attention_forward", heads))
        stack.enter_context(replaced(functional, "scaled_dot_product_attention", scaled))
        for owner in (functional, torch, torch.Tensor):
            stack.enter_context(replaced(owner, "softmax", softmax))
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        yield


def _like(padded: torch.Tensor, other: torch.Tensor | None) -> torch.Tensor:
    """The mask in the kind of the one that is given beside it: torch wants both alike."""
    if other is None or not other.is_floating_point():
        return padded
    return torch.zeros(padded.shape, dtype=other.dtype, device=padded.device).masked_fill(padded, -math.inf)


def _scores_masked(padding: _Padding, scores: Any) -> torch.Tensor | None:
    """The scores `(N, …, T, T)` of a written-out attention with padding masked; None of anything else."""
    if not isinstance(scores, torch.Tensor) or scores.ndim < 3 or not scores.is_floating_point():
        return None
    padded = padding.of(len(scores), scores.shape[-1])
    if padded is None or scores.shape[-1] != scores.shape[-2]:
        return None
    hidden = padded.reshape(len(padded), *(1 for _ in range(scores.ndim - 2)), -1).expand_as(scores)
    if bool((scores.detach()[hidden] < HIDDEN).all()):
        return None
    return scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
