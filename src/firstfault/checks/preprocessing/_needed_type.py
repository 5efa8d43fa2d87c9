"""The type in which a model takes its inputs, where it is not that of the prepared ones."""

from __future__ import annotations

from typing import Any

import torch

from firstfault.subject.subject import Subject
from firstfault.training.recipe import outputs_of


def needed_type(subject: Subject) -> str | None:
    """`int64` where the model looks ids up, and is given floats; None where the inputs fit."""
    try:
        model, x = subject.model, subject.batch.x
    except Exception:
        return None
    if not x.is_floating_point():
        return None
    if _embeds_fractions(model, x):
        return "int64"
    if _runs(model, x):
        return None
    whole = bool((x[torch.isfinite(x)] % 1 == 0).all()) and float(x.min()) >= 0
    return "int64" if whole and _runs(model, x.long()) else None


def _embeds_fractions(model: Any, x: torch.Tensor) -> bool:
    """Whether a model that looks ids up is given fractions, which it refuses or cuts off."""
    if not (torch.nan_to_num(x) % 1 != 0).any() or not any(
        isinstance(module, torch.nn.Embedding | torch.nn.EmbeddingBag) for module in model.modules()
    ):
        return False
    if not _runs(model, x):
        return _runs(model, x.long())
    with torch.no_grad():
        return bool(torch.equal(outputs_of(model(x)), outputs_of(model(x.trunc()))))


def _runs(model: Any, x: torch.Tensor) -> bool:
    try:
        with torch.no_grad():
            outputs_of(model(x))
    except Exception:
        return False
    return True
