"""The texts of a batch of a language model: what each row asks, and the answer that it teaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from firstfault.training.losses import IGNORED


def texts_of(batch: Any, tokenizer: Any) -> list[tuple[str, str]]:
    """Prompt and supervised answer of each row; none where the batch has no ids and labels, or nothing reads them."""
    ids, labels = (batch.get(name) if isinstance(batch, Mapping) else None for name in ("input_ids", "labels"))
    if tokenizer is None or not isinstance(ids, torch.Tensor) or not isinstance(labels, torch.Tensor):
        return []
    if ids.ndim != 2 or labels.shape != ids.shape:
        return []
    return [_texts(row, asked, tokenizer) for row, asked in zip(ids.tolist(), labels.tolist(), strict=True)]


def _texts(ids: list[int], labels: list[int], tokenizer: Any) -> tuple[str, str]:
    supervised = [place for place, label in enumerate(labels) if label != IGNORED]
    start = supervised[0] if supervised else len(ids)

    def read(part: list[int]) -> str:
        return str(tokenizer.decode(part, skip_special_tokens=True)).strip()

    return read(ids[:start]), read([labels[place] for place in supervised])
