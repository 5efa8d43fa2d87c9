"""The states of the random generators that a block leaves as it found them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def same_random_state(models: Iterable[nn.Module] = ()) -> Iterator[None]:
    """Put back Python's, NumPy's and torch's global generators at the end of the block.

    Those of the models' CUDA devices are among them.
    """
    devices = sorted({value.device.index or 0 for model in models for value in model.parameters() if value.is_cuda})
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
