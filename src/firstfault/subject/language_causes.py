"""Why two ways through a language model differ: the explanation of each gap that was measured, made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from firstfault.errors import Missing
from firstfault.finding import Layer
from firstfault.lm.cuts import Cut, Divergence
from firstfault.lm.local import Local
from firstfault.lm.modules import (
    HALF_RANGE,
    first_difference,
    head_apart_from_embedding,
    largest_activation,
    number_format,
    other_parameters,
    other_rotary_settings,
)
from firstfault.lm.network import (
    call,
    device_of,
    divergence,
    evaluated,
    log_probs,
    logits_of,
    positions_from,
    state_of,
    vocabulary_of,
)
from firstfault.subject.language_distances import Gap, behind, bound, forward_ids, gaps, numerics
from firstfault.subject.language_model import declared_lm, local, network, reference_network, ways
from firstfault.subject.memo import memo, part
from firstfault.subject.subject import Subject

BY_ROUNDING = 0.02
"""Of the largest weight: a head that is rounded to int8 apart from its embedding is 0.004 from it."""
BATCHED = 4
"""Prompts that are answered together: enough to pad three of them."""
LONGEST = 128
"""Tokens of a prompt in a batch: on 135 M parameters a CPU second each."""
CACHED = 32
"""Tokens that are sent through a network with the cache, half of them one by one."""


@part(Layer.MODEL, "lm.model", of="model")
def overflow(subject: Subject) -> tuple[float, str]:
    """The largest magnitude in the network on a prompt, and the module that gives it."""
    found = [largest_activation(network(subject), ids) for _, ids in forward_ids(subject)[:1]]
    if not found:
        raise Missing("no prompt can be sent through the network")
    return found[0]


@memo(of="model")
def log_prob_fault(subject: Subject) -> Divergence | None:
    """The reason why log-probabilities are not the reference's; None where they are."""
    worst = max(gaps(subject), key=lambda gap: gap.mean, default=None)
    if worst is None or worst.mean <= bound(subject):
        return None
    return _explained(subject, worst)


def _explained(subject: Subject, gap: Gap) -> Divergence:
    model, other = network(subject), reference_network(subject)
    told = f"{gap.prompt}: log-probs are {gap.mean:.2g} nat a token from the reference's"
    largest, where = overflow(subject)
    if largest > HALF_RANGE and number_format(model) == "float16":
        return _found("precision_overflow", f"{told}; {where} gives {largest:.3g}, beyond float16", gap, where)
    apart = head_apart_from_embedding(model)
    if apart is not None and apart > BY_ROUNDING and head_apart_from_embedding(other) == 0.0:
        return _found("head_untied", f"{told}; the head is {apart:.2g} from the embedding", gap, "lm_head")
    if names := other_rotary_settings(model, other):
        return _found("rope_mismatch", f"{told}; the rotary settings differ: {', '.join(names)}", gap, "")
    module = first_difference(model, other, gap.ids)
    coarse = number_format(model)
    changed = other_parameters(model, other)
    if coarse != number_format(other) and not changed:
        return _found("precision_loss", f"{told}; it computes in {coarse}, from {module} on", gap, module)
    if changed and len(changed) < len(list(model.parameters())) and _by_rounding(model, other):
        return _found("precision_loss", f"{told}; the weights are rounded, from {module} on", gap, module)
    if changed:
        named = f"{len(changed)} parameters are not the reference's, {changed[0]} for one"
        return _found("weights_not_loaded", f"{told}; {named}", gap, module)
    return _found("", f"{told}; the weights are equal, and {module or 'no module'} is the first to differ", gap, module)


def _found(fault: str, message: str, gap: Gap, module: str) -> Divergence:
    return Divergence(Cut.LOG_PROBS, fault, message, gap.prompt, module, gap.mean)


def _by_rounding(model: nn.Module, other: nn.Module, least: float = 0.9) -> bool:
    """Whether weights that differ are nearly the reference's: all of them lie in its direction."""
    known = dict(other.named_parameters())
    for name, value in model.named_parameters():
        there = known.get(name)
        if there is None or there.shape != value.shape:
            return False
        first, second = value.detach().float().flatten(), there.detach().float().flatten()
        if float(first.norm()) and float(nn.functional.cosine_similarity(first, second, dim=0)) < least:
            return False
    return True


@dataclass(frozen=True)
class Batch:
    """Prompts answered alone and together: how far what comes next is apart, at worst, and the inputs of the batch."""

    alone: torch.Tensor
    lengths: tuple[int, ...]
    inputs: Mapping[str, torch.Tensor]
    apart: float


@memo(of="model")
def sequences(subject: Subject) -> tuple[tuple[int, ...], ...]:
    """The ids of prompts of unequal lengths."""
    vocabulary = vocabulary_of(network(subject))
    known = [(way.ids or ())[:LONGEST] for way in ways(subject)]
    by_length = {len(ids): ids for ids in known if ids and max(ids) < vocabulary}
    found = list(by_length.values())[-BATCHED:]
    if len(found) == 1 and len(found[0]) > 2:
        found.append(found[0][: len(found[0]) // 2])
    if len(found) < 2:
        raise Missing("no prompts of unequal lengths can be sent through the network")
    return tuple(found)


@part(Layer.MODEL, "lm.collate or lm.model", of="model")
def batched(subject: Subject) -> Batch:
    """Prompts of unequal lengths, alone and in one batch as the target makes it."""
    lm, model = declared_lm(subject), local(subject)
    if lm.batch == 1 and lm.collate is None:
        raise Missing("prompts are answered alone: neither lm.batch nor lm.collate is given")
    asked = sequences(subject)
    alone = behind(asked, model)
    inputs = model.collated(asked)
    return Batch(alone, tuple(map(len, asked)), inputs, _apart(alone, model, inputs))


def _apart(alone: torch.Tensor, model: Local, inputs: Mapping[str, torch.Tensor]) -> float:
    return float(divergence(alone, model.last_log_probs(inputs)).max())


@memo(of="model")
def batch_fault(subject: Subject) -> Divergence | None:
    """Why prompts are answered otherwise in a batch; None where they are not."""
    seen = batched(subject)
    if seen.apart <= numerics(subject):
        return None
    told = f"in a batch of {len(seen.lengths)} what comes next is {seen.apart:.2g} nat from the same prompt alone"
    if _ends_in_padding(seen):
        return Divergence(Cut.IDS, "padding_side", f"{told}: shorter prompts end in padding", value=seen.apart)
    for fault, inputs, why in _repairs(seen):
        if _apart(seen.alone, local(subject), inputs) <= max(numerics(subject), seen.apart / 100):
            return Divergence(Cut.IDS, fault, f"{told}; {why} alone mends it", value=seen.apart)
    if _by_padding_alone(seen, local(subject), numerics(subject)):
        told = f"{told}, and so is each padded prompt alone"
        if _reads_padding(seen, local(subject), numerics(subject)):
            return Divergence(Cut.IDS, "padding_not_masked", told, value=seen.apart)
        told = f"{told}, whatever ids the padding has"
        return Divergence(Cut.IDS, "positions_not_from_mask", told, value=seen.apart)
    return Divergence(Cut.LOG_PROBS, "batch_dependence", told, value=seen.apart)


def _reads_padding(seen: Batch, model: Local, most: float) -> bool:
    """Whether other ids in the padding change what comes next."""
    ids, mask = seen.inputs["input_ids"], mask_of(seen)
    other = torch.where(mask == 0, (ids + 1) % min(vocabulary_of(model.model), 100), ids)
    changed = model.last_log_probs({**seen.inputs, "input_ids": other})
    return float(divergence(model.last_log_probs(seen.inputs), changed).max()) > most


def _by_padding_alone(seen: Batch, model: Local, most: float) -> bool:
    """Whether each padded prompt is answered in the batch as it is in a batch of its own."""
    count = len(seen.lengths)
    if any(value.shape[:1] != (count,) for value in seen.inputs.values()):
        return False
    together = model.last_log_probs(seen.inputs)
    rows = [{name: value[row : row + 1] for name, value in seen.inputs.items()} for row in range(count)]
    return float(divergence(torch.cat([model.last_log_probs(row) for row in rows]), together).max()) <= most


def mask_of(seen: Batch) -> torch.Tensor:
    """The mask of a batch: the one that it holds, else by the lengths of its prompts, padded on the left."""
    given = seen.inputs.get("attention_mask")
    if given is not None:
        return given
    width = seen.inputs["input_ids"].shape[1]
    return torch.tensor([[0] * (width - length) + [1] * length for length in seen.lengths])


def _ends_in_padding(seen: Batch) -> bool:
    mask = seen.inputs.get("attention_mask")
    if mask is not None:
        return bool((mask[:, -1] == 0).any())
    ids, longest = seen.inputs["input_ids"], max(seen.lengths)
    short = [row for row, length in enumerate(seen.lengths) if length < longest]
    return all(len(set(ids[row, seen.lengths[row] :].tolist())) == 1 for row in short) and not any(
        len(set(ids[row, : longest - seen.lengths[row] + 1].tolist())) == 1 for row in short
    )


def _repairs(seen: Batch) -> Sequence[tuple[str, dict[str, torch.Tensor], str]]:
    mask = mask_of(seen)
    positions = positions_from(mask)
    given = dict(seen.inputs)
    found = []
    if "attention_mask" not in given:
        found.append(("padding_not_masked", {**given, "attention_mask": mask}, "an attention mask"))
    found.append(("positions_not_from_mask", {**given, "position_ids": positions}, "positions from the mask"))
    both = {**given, "attention_mask": mask, "position_ids": positions}
    found.append(("padding_not_masked", both, "a mask with positions from it"))
    return found


@part(Layer.MODEL, "lm.model", of="model")
def cache_gap(subject: Subject) -> float:
    """The mean divergence of log-probabilities with the cache from those without it, on one prompt."""
    model = network(subject)
    ids = next((ids[:CACHED] for _, ids in forward_ids(subject) if len(ids) > 3), None)
    if ids is None:
        raise Missing("no prompt can be sent through the network")
    cached = torch.cat(list(_with_cache(model, ids)), 1)[0].float().log_softmax(-1)
    return float(divergence(log_probs(model, ids), cached).mean())


def _with_cache(model: nn.Module, ids: Sequence[int]) -> Iterator[torch.Tensor]:
    """The logits of half a text at once, and of each token behind it by the cache."""
    tensor, half = torch.tensor([list(ids)], device=device_of(model)), len(ids) // 2
    with evaluated(model):
        output = call(model, {"input_ids": tensor[:, :half]}, use_cache=True)
        yield logits_of(output)
        for place in range(half, len(ids)):
            state = state_of(output)
            if state is None:
                raise Missing("the model keeps no cache")
            output = call(model, {"input_ids": tensor[:, place : place + 1]}, state=state, use_cache=True)
            yield logits_of(output)
