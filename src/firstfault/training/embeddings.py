"""The module in which a model looks up its tokens, which may be a wrapper that an adapter put around it."""

from __future__ import annotations

from typing import Any

from torch import nn


def declared_embedding(model: nn.Module) -> Any:
    """The module that a model names as transformers' do; None of another model."""
    find = getattr(model, "get_input_embeddings", None)
    return find() if callable(find) else None


def embedding_of(model: nn.Module) -> Any:
    """The module that a model names, else its first embedding; None where it has none."""
    return declared_embedding(model) or next((each for each in model.modules() if isinstance(each, nn.Embedding)), None)
