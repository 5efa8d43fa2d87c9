"""The ways in which the calls of a model can stand as one tensor of samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from firstfault.training.call_tree import Arguments
from firstfault.training.losses import IGNORED
from firstfault.training.one_tensor import Batches, Inputs, Rows, Samples, of_one_length

LABEL_NAMES = ("label", "target")


def inputs_of(calls: Sequence[Arguments], targets: Sequence[torch.Tensor], sizes: Sequence[int]) -> Iterator[Inputs]:
    """The ways in which calls can stand as one tensor, the most telling first.

    Args:
        calls: of the model, one per batch.
        targets: what the loss was given beside the outputs of each; none where it is not known.
        sizes: how many samples each batch has.
    """
    for shared in (False, True):
        sorted_out = _sorted_out(calls, sizes, shared)
        if sorted_out is not None:
            yield from _by_samples(calls, targets, *sorted_out)
    yield Batches(calls, sizes)


def _by_samples(
    calls: Sequence[Arguments],
    targets: Sequence[torch.Tensor],
    rows: dict[int, torch.Tensor],
    fixed: dict[int, torch.Tensor],
) -> Iterator[Inputs]:
    form, labels = calls[0].form, _labels_among(rows, targets, [slot.name for slot in calls[0].slots])
    for hidden in (labels, frozenset[int]()) if labels else (labels,):
        samples = _samples(form, rows, fixed, hidden)
        if samples is not None:
            yield samples
        blank = {slot: torch.zeros_like(rows[slot]) for slot in hidden}
        if len(rows) > len(blank):
            yield Rows(form, {**rows, **blank}, fixed)


def _sorted_out(
    calls: Sequence[Arguments], sizes: Sequence[int], shared: bool
) -> tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]] | None:
    """The tensors that have a row per sample, over all calls, and those that belong to none.

    None where they can't be told.

    With `shared`, one that is the same in every call belongs to none, even if it has as many rows: a mask `(T, T)` may.
    """
    first = calls[0]
    if any(call.opaque or call.slots != first.slots for call in calls):
        return None
    rows: dict[int, torch.Tensor] = {}
    fixed: dict[int, torch.Tensor] = {}
    for slot in range(len(first.tensors)):
        seen = [call.tensors[slot] for call in calls]
        same = all(torch.equal(value, seen[0]) for value in seen)
        by_sample = all(value.ndim > 0 and len(value) == size for value, size in zip(seen, sizes, strict=True))
        if by_sample and not (same and shared and len(calls) > 1):
            rows[slot] = seen  # type: ignore[assignment]
        elif same:
            fixed[slot] = seen[0]
        else:
            return None
    joined = {slot: _joined(slot, rows) for slot in rows}  # type: ignore[arg-type]
    if not joined or any(value is None for value in joined.values()):
        return None
    return {slot: value for slot, value in joined.items() if value is not None}, fixed


def _joined(slot: int, rows: dict[int, list[torch.Tensor]]) -> torch.Tensor | None:
    """The batches of a tensor one below the other; shorter ones filled up where a mask says what fills a row."""
    seen = rows[slot]
    if len({value.shape[1:] for value in seen}) == 1:
        return torch.cat(seen)
    masks = [other for other in rows.values() if _is_mask(other)]
    if not masks or any(value.ndim < 2 or value.shape[2:] != seen[0].shape[2:] for value in seen):
        return None
    return torch.cat(of_one_length(seen, _filling(seen, masks[0])))


def _is_mask(seen: Sequence[torch.Tensor]) -> bool:
    """Whether rows `(N, T)` begin with ones and may end with zeros."""
    return all(
        value.ndim == 2
        and not value.is_floating_point()
        and bool(((value == 0) | (value == 1)).all())
        and bool((value[:, 1:].int() <= value[:, :-1].int()).all())
        and bool((value[:, 0] == 1).all())
        for value in seen
    )


def _filling(seen: Sequence[torch.Tensor], mask: Sequence[torch.Tensor]) -> float:
    """What stands where the mask is 0, if it is one value; else 0."""
    filled = [
        value[part == 0]
        for value, part in zip(seen, mask, strict=True)
        if value.shape[:2] == part.shape and not torch.equal(value, part)
    ]
    values = torch.cat([value.reshape(-1) for value in filled]) if filled else torch.zeros(0)
    return float(values[0]) if len(values) and bool((values == values[0]).all()) else 0.0


def as_labels(targets: Sequence[torch.Tensor], sizes: Sequence[int]) -> torch.Tensor | None:
    """What the loss was given, one row per sample.

    Tokens of batches of different length are filled up with what is ignored.
    """
    shaped = []
    for target, size in zip(targets, sizes, strict=True):
        if target.ndim == 0 or size == 0 or len(target) % size:
            return None
        shaped.append(target if len(target) == size else target.reshape(size, len(target) // size, *target.shape[1:]))
    if len({value.shape[1:] for value in shaped}) > 1:
        if shaped[0].is_floating_point() or any(value.ndim != 2 for value in shaped):
            return None
        return torch.cat(of_one_length(shaped, IGNORED))
    return torch.cat(shaped)


def _labels_among(
    rows: dict[int, torch.Tensor], targets: Sequence[torch.Tensor], names: Sequence[str]
) -> frozenset[int]:
    """The tensors that are what the loss was given, as they are or moved by one."""
    if not targets:
        return frozenset()
    flat = torch.cat([target.reshape(-1) for target in targets])
    found = [slot for slot, value in rows.items() if _is_target(value, flat)]
    if len(found) > 1:  # tokens to predict are those that come next: the tokens themselves look like labels too
        found = [slot for slot in found if any(word in names[slot] for word in LABEL_NAMES)] or found[1:]
    return frozenset(found) if len(found) < len(rows) else frozenset()


def _is_target(value: torch.Tensor, flat: torch.Tensor) -> bool:
    if value.numel() == flat.numel():
        if torch.equal(value.reshape(-1), flat):
            return True
        ahead = flat.reshape(value.shape) if value.ndim == 2 else None
        return ahead is not None and torch.equal(value[:, 1:], ahead[:, :-1]) and not value.is_floating_point()
    return value.ndim == 2 and torch.equal(value[:, 1:].reshape(-1), flat)


def _samples(
    form: Any, rows: dict[int, torch.Tensor], fixed: dict[int, torch.Tensor], hidden: frozenset[int]
) -> Samples | None:
    """One tensor as the samples, where every other follows from it."""
    visible = {slot: value for slot, value in rows.items() if slot not in hidden}
    same = {slot for slot, value in visible.items() if len(value) > 1 and bool((value == value[:1]).all())}
    for main in [slot for slot in visible if slot not in same] or list(visible)[:1]:
        tokens = {slot: _told_apart(visible[main], visible[slot]) for slot in visible if slot not in (main, *same)}
        if all(token is not None for token in tokens.values()):
            alike = {slot: rows[slot][:1] for slot in same if slot != main}
            alike |= {slot: torch.zeros_like(rows[slot][:1]) for slot in hidden}
            masks = {slot: (token, visible[slot].dtype) for slot, token in tokens.items() if token is not None}
            return Samples(form, visible[main], main, alike, masks, fixed)
    return None


def _told_apart(x: torch.Tensor, mask: torch.Tensor) -> int | None:
    """The token that is in `x` `(N, T)` exactly where the mask is 0, if there is one."""
    if x.shape != mask.shape or x.is_floating_point() or mask.is_floating_point() or x.ndim != 2:
        return None
    if not bool(((mask == 0) | (mask == 1)).all()) or bool(mask.all()):
        return None
    token = int(x[mask == 0][0])
    return token if torch.equal((x != token).long(), mask.long()) else None
