"""Whether values can be looked at: not those of a function being transformed or compiled, and not those of a tensor
that has none.
"""

from __future__ import annotations

import torch


def readable(value: torch.Tensor) -> bool:
    """Whether a tensor holds values in a dense block of memory.

    One on the device meta, a nested or sparse one, or one of `torch.func` does not.
    """
    return (
        value.layout is torch.strided
        and not value.is_meta
        and not value.is_nested
        and not torch._C._functorch.is_functorch_wrapped_tensor(value)
    )


def transforming() -> bool:
    """Whether the code at hand runs inside `torch.func.vmap`, `grad` or such, where no tensor may be read or kept."""
    return torch._C._functorch.peek_interpreter_stack() is not None
