"""The low-rank adapters of PEFT that a network carries beside its weights, and the network without them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from firstfault.errors import Missing

FACTORS = frozenset({"lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"})
"""The factors of PEFT's low-rank adapters, as parts of the names of parameters."""
SWITCH = "_disable_adapters"
"""What PEFT's layers look at in each forward pass."""


def own_adapter(model: nn.Module) -> Mapping[str, torch.Tensor]:
    """The factors of the adapters in a network, by name; empty where there is none."""
    return {name: value.detach() for name, value in model.named_parameters() if FACTORS & set(name.split("."))}


@contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """A block in which a network answers as if it had no adapter; its switches are put back.

    Raises:
        Missing: where the adapter is merged into the weights.
    """
    layers = [module for module in model.modules() if hasattr(module, SWITCH)]
    if any(getattr(module, "merged_adapters", ()) for module in layers):
        raise Missing("the adapter is merged into the weights")
    before = [getattr(module, SWITCH) for module in layers]
    try:
        for module in layers:
            setattr(module, SWITCH, True)
        yield
    finally:
        for module, switch in zip(layers, before, strict=True):
            setattr(module, SWITCH, switch)
