"""What of a language model the training left as it was: the embedding of new tokens, the factors of an adapter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from firstfault.interrupts import pass_on
from firstfault.probe.models import Models, local
from firstfault.probe.record import Record, TokensSeen
from firstfault.probe.token_rows import TokenRows
from firstfault.training.embeddings import declared_embedding

SECOND_FACTORS = ("lora_B", "lora_embedding_B")
"""The factors of PEFT's low-rank adapters that begin as zero."""
AT_THE_MEAN = 0.05
"""Of the usual distance from the mean of all rows: transformers puts new ones within 1e-3 of it."""
ROUNDED = 1e-6
"""Of the usual distance: a step of a learning rate of 1e-6 moves a row by more."""
MOST_NAMED = 8  # tokens by their texts; more are more of the same


def note_language(record: Record, rows: TokenRows, models: Models, tokenizer: Any) -> None:
    """Put what was kept of a language model's rows into the record, and what the training left as it was."""
    note_adapter(record.tokens, models.parameters)
    rows.note(list(models.roots.values()), tokenizer)
    try:
        if rows.rows:
            note_new_rows(record.tokens, models, rows.seen_ids, tokenizer)
    except Exception as error:  # a model of somebody's with an embedding of its own
        pass_on(error)
        record.passed_over["tokens"] = f"the embedding can't be looked at: {type(error).__name__}"


def note_adapter(seen: TokensSeen, parameters: Mapping[str, nn.Parameter]) -> None:
    """Count the second factors of adapters, and those that are zero."""
    factors = [value for name, value in parameters.items() if set(name.split(".")) & set(SECOND_FACTORS)]
    seen.factors = len(factors)
    seen.zero_factors = sum(not bool(local(value.detach()).any()) for value in factors)


def note_new_rows(seen: TokensSeen, models: Models, ids: Counter[int], tokenizer: Any) -> None:
    """Name the tokens of the rows whose embedding is the mean of all others, and has not moved."""
    for model in models.roots.values():
        embedding = declared_embedding(model)
        weight = getattr(embedding, "weight", None)
        if embedding is None or not isinstance(weight, torch.Tensor) or weight.ndim != 2:
            continue
        start = models.start.get(models.names.get(id(weight), ""))
        if start is None or start.shape != weight.shape or not weight.is_floating_point():
            continue
        pads = {getattr(place, "pad_token_id", None) for place in (tokenizer, getattr(model, "config", None))}
        chosen = sorted(each for each in ids if 0 <= each < len(weight) and each not in pads)
        seen.unmoved = [_text(each, tokenizer) for each in _still(embedding, start, chosen)][:MOST_NAMED]


def _still(embedding: nn.Module, start: torch.Tensor, ids: list[int]) -> list[int]:
    """The ids whose vectors are near the mean, and are those of the first weights: what is beside these moves them."""
    weight: Any = embedding.weight
    chosen = torch.tensor(ids, device=weight.device, dtype=torch.long)
    with torch.no_grad():
        given = embedding(chosen[None])[0].float()
        first, every = start.to(weight.device)[chosen].float(), weight.float()
    mean = every.mean(0)
    usual = (every - mean).norm(dim=1).median()
    factor = (given.norm(dim=1) / first.norm(dim=1).clamp_min(1e-12)).median()  # some models scale them
    same = (given - factor * first).norm(dim=1) <= ROUNDED * usual * factor.clamp_min(1e-12)
    near = (first - mean).norm(dim=1) <= AT_THE_MEAN * usual
    found: list[int] = chosen[near & same].tolist()
    return found


def _text(number: int, tokenizer: Any) -> str:
    return str(tokenizer.decode([number])) if tokenizer is not None else f"token {number}"
