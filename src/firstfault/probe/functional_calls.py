"""Activations and attention that a model calls as functions, in no module of their own: `F.relu`, `torch.tanh`,
`F.scaled_dot_product_attention`.
"""

from __future__ import annotations

import inspect
import math
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as modules
from torch.overrides import TorchFunctionMode

from firstfault.probe.models import is_compiled
from firstfault.probe.transform_guard import transforming
from firstfault.training.losses import WATCHED

Tensor = torch.Tensor
ACTIVATIONS: dict[Any, str] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), "ReLU"),
    F.relu6: "ReLU6",
    **dict.fromkeys((F.sigmoid, torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_), "Sigmoid"),
    **dict.fromkeys((F.tanh, torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_), "Tanh"),
}
SOFTMAX = frozenset({F.softmax, torch.softmax, Tensor.softmax})
CARRIES = frozenset({F.dropout, torch.dropout, Tensor.to, Tensor.type_as, Tensor.contiguous})
DROPS: dict[Any, Callable[..., bool]] = {
    F.dropout: lambda input, p=0.5, training=True, inplace=False: training and p > 0,
    torch.dropout: lambda input, p, train: train and p > 0,
    F.scaled_dot_product_attention: lambda query, key, value, attn_mask=None, dropout_p=0.0, **others: dropout_p > 0,
}
"""Whether a call of these drops something."""
PRODUCTS = frozenset({torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__})
ATTENTION = F.scaled_dot_product_attention
FAST_IN_EVAL = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
"""Modules that take another path in eval mode, unless somebody listens: nobody may then."""
MOST_OF_A_MODULE = 8
"""Calls after one module that are told apart: a loop over time steps would name hundreds."""
ENOUGH = 5
"""Calls of models after which one that calls no such function is left in peace."""


def module_of(name: str) -> str:
    """The module after which a call is named; a name that is no call's stays."""
    return name.partition(":")[0]


class FunctionalCalls:
    """Listens to torch's functions while a model is called with gradients on.

    A call is named after the last module before it, as `hidden:relu`.

    Args:
        activation: called as `activation(name, kind, outputs)`; kind is the name of the module of the same function.
        attention: called as `attention(name, weights)` with the weights `(heads, queries, keys)` of the first sample.
        drops: called with the outermost model in which a function of dropout was called.
        failed: called with the reason when a call can't be looked at: then it listens no longer.
    """

    def __init__(
        self,
        activation: Callable[[str, str, Tensor], None],
        attention: Callable[[str, Tensor], None],
        drops: Callable[[nn.Module], None],
        failed: Callable[[str], object],
    ) -> None:
        self._activation, self._attention, self._drops, self._failed = activation, attention, drops, failed
        self._model: nn.Module | None = None
        self._gave_up, self._calls, self._heard = False, 0, False
        self._handles: list[Any] = []
        self._names: dict[int, str] = {}
        self._opaque: frozenset[int] = frozenset()
        self._thread = 0
        self._depth = self._inside = self._count = 0
        self._after = ""
        self._mode: _Listener | None = None
        # what softmax gave or dropout made of it, and the weights themselves
        self._weights: list[tuple[Tensor, Tensor]] = []

    def begin(self, leaves: Iterable[tuple[str, nn.Module]], attentions: Iterable[tuple[str, nn.Module]]) -> None:
        """Listen from the next call of a model on; what the modules of torch among these do within is theirs."""
        if self._gave_up or (self._calls >= ENOUGH and not self._heard):
            return
        named = [*leaves, *attentions]
        self._names = {id(module): name for name, module in named}
        self._opaque = frozenset(id(module) for _, module in named if type(module).__module__.startswith("torch."))
        self._thread, self._depth, self._inside = threading.get_ident(), 0, 0
        self._handles = [
            modules.register_module_forward_pre_hook(self._entered),
            modules.register_module_forward_hook(self._left, always_call=True),
        ]

    def end(self) -> None:
        """Listen no longer."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._leave()

    def _entered(self, module: nn.Module, inputs: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if threading.get_ident() != self._thread:
            return
        if self._depth == 0 and not self._gave_up and torch.is_grad_enabled() and _may_listen(module):
            self._calls += 1
            self._model = module
            self._mode = _Listener(self._called)
            self._mode.__enter__()  # type: ignore[no-untyped-call]
        self._depth += 1
        self._inside += id(module) in self._opaque
        self._pass(module)

    def _left(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        if torch.compiler.is_compiling():
            return
        if threading.get_ident() != self._thread:
            return
        self._depth, self._inside = max(0, self._depth - 1), max(0, self._inside - (id(module) in self._opaque))
        self._pass(module)
        if self._depth == 0:
            self._leave()

    def _pass(self, module: nn.Module) -> None:
        """What is called from here on comes after this module."""
        if id(module) in self._names:
            self._after, self._count = self._names[id(module)], 0

    def _leave(self) -> None:
        if self._mode is not None:
            self._mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        self._mode, self._model, self._after, self._count, self._weights = None, None, "", 0, []

    def _called(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        if self._gave_up:
            return
        try:
            self._hear(function, args, kwargs, result)
        except Exception as error:  # the user's training goes on, whatever was passed
            self._gave_up = True
            self._failed(f"{function.__name__}: {type(error).__name__}")

    def _hear(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        if function in DROPS and not self._inside and self._model is not None and DROPS[function](*args, **kwargs):
            self._heard = True
            self._drops(self._model)
        if function in CARRIES:  # dropout of attention weights is mostly a module
            self._weights += [
                (result, weights)
                for known, weights in self._weights
                if args and args[0] is known and result is not known
            ]
        elif not self._inside and torch.is_grad_enabled() and isinstance(result, Tensor) and result.is_floating_point():
            with torch.no_grad():
                self._judge(function, args, kwargs, result)

    def _judge(self, function: Any, args: Any, kwargs: Any, result: Tensor) -> None:
        if function in ACTIVATIONS and result.numel() > 1:
            self._tell(self._activation, function.__name__.rstrip("_"), ACTIVATIONS[function], result.detach())
        elif function in SOFTMAX and result.ndim in (3, 4):
            self._weights.append((result, result[0].detach()))
        elif function in PRODUCTS and (
            found := [weights for known, weights in self._weights if args and args[0] is known]
        ):
            weights = found[0].float()
            self._tell(self._attention, "attention", weights if weights.ndim == 3 else weights[None])
            self._weights = []
        elif function is ATTENTION:
            self._tell(self._attention, "attention", attention_weights(*args, **kwargs))

    def _tell(self, told: Callable[..., None], function: str, *what: Any) -> None:
        self._count += 1
        if self._after and self._count <= MOST_OF_A_MODULE:
            self._heard = True
            told(f"{self._after}:{function}{self._count if self._count > 1 else ''}", *what)


class _Listener(TorchFunctionMode):
    """Tells of every call of a function of torch, and changes none."""

    def __init__(self, called: Callable[[Any, Any, Any, Any], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._called = called

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in WATCHED:
            func = inspect.unwrap(func)  # the probe has put its own in their place, which has been called already
        result = func(*args, **(kwargs or {}))
        if func in HEARD:
            self._called(func, args, kwargs or {}, result)
        return result


HEARD = frozenset({*ACTIVATIONS, *SOFTMAX, *CARRIES, *PRODUCTS, ATTENTION})


def attention_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights `(heads, queries, keys)` of the first sample that `F.scaled_dot_product_attention` gives its values,
    before dropout.
    """
    q, k = (part[0] if part.ndim > 2 else part for part in (query.detach().float(), key.detach().float()))
    if enable_gqa:
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    scores = q @ k.transpose(-1, -2) * (scale if scale is not None else 1 / math.sqrt(q.shape[-1]))
    if is_causal:
        scores = scores.masked_fill(
            torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1), -math.inf
        )
    if attn_mask is not None:
        mask = attn_mask.detach().expand(*query.shape[:-1], key.shape[-2])
        mask = mask[0] if query.ndim > 2 else mask
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1).reshape(-1, *scores.shape[-2:])


def _may_listen(model: nn.Module) -> bool:
    """Whether listening to a model changes no number: nothing is compiled, and no part of it takes another path when
    nobody listens.
    """
    if isinstance(model, nn.modules.loss._Loss) or transforming() or _something_is_compiled():
        return False
    return not any(
        is_compiled(module) or (isinstance(module, FAST_IN_EVAL) and not module.training) for module in model.modules()
    )


def _something_is_compiled() -> bool:
    known = sys.modules.get("torch._dynamo.utils")
    return known is not None and bool(getattr(known, "counters", {}).get("frames"))
