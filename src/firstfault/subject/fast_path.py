"""Torch's fused encoder layers, which are left out while checks look inside a model.

In eval mode `nn.TransformerEncoder` makes nested tensors of padded samples, which only its fused layers take; a hook on
a part of such a layer keeps it from being fused, and the model raises.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def without_fast_path() -> Iterator[None]:
    """Run every module as it is written inside the block."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
