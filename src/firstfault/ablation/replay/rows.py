"""Samples of an incident taken away, or replaced by the control's: what is left answers as it did, or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from firstfault.ablation.replay.folds import METRIC, outcome, over_parts, unproven
from firstfault.checks.data._served_images import Images, images_of, picture_of
from firstfault.checks.data.served_texts import field_of, odd_texts, texts_of
from firstfault.errors import Missing
from firstfault.finding import LayerReport
from firstfault.metrics import Array
from firstfault.subject.incident import incident
from firstfault.subject.likeness import likeness
from firstfault.subject.replays import Side, replays
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome

SURETY = "estimated accuracy"


def undo_rows(subject: Subject, report: LayerReport, faults: Sequence[str]) -> list[Outcome]:
    """Rows that should not be there, replaced by what the control was asked."""
    try:
        both = replays(subject)
        replayed, healthy = both.incident.replayed, both.control.replayed
    except Missing as reason:
        return [unproven(fault, str(reason), undecided=False) for fault in faults]
    if both.why_not:
        return [unproven(fault, both.why_not, undecided=False) for fault in faults]
    own = likeness(healthy[::2], healthy[1::2])
    if (scaled := _scaled_back(subject, both.incident, faults)) is not None:
        return [_compared(both.incident, fault, scaled, replayed, healthy, own) for fault in faults]
    side = both.incident
    return [_undone(side, fault, _odd(subject, side, fault), replayed, healthy, own) for fault in faults]


def _scaled_back(subject: Subject, side: Side, faults: Sequence[str]) -> Array | None:
    """The answers to pictures whose pixels are divided by their factor; None where that is no suspicion."""
    if "unit_change" not in faults:
        return None
    found = images_of(subject)
    pixels = np.abs(found.before).max((1, 2))
    low, high, factor = 0.7 * float(pixels.min()), 1.3 * float(pixels.max()), found.factor or 1.0
    rows: list[Any] = []
    for value in side.raw:
        image = picture_of(value)
        largest = low if image is None else float(np.abs(image).max())
        scaled = isinstance(value, list) and not low <= largest <= high
        rows.append((np.asarray(value, dtype=float) / factor).tolist() if scaled else value)
    return side.answers(side.scattered(rows, side.truth.prepared))


def _compared(side: Side, fault: str, after: Array, before: Array, healthy: Array, own: float) -> Outcome:
    """The answers before and after, over parts of the time."""

    def score(part: Array) -> tuple[float, float]:
        return likeness(before[part], healthy), likeness(after[part], healthy)

    change = f"pixels divided by their factor, and {len(side)} samples replayed"
    return outcome(fault, change, over_parts(len(side), score, METRIC), METRIC, own)


def _odd(subject: Subject, side: Side, fault: str) -> Array:
    if fault == "duplicate_rows":
        return _again([request.hashes.get("raw", request.id) for request, _ in side.samples])
    pictures = [picture_of(value) for value in side.raw]
    if any(image is not None for image in pictures):
        return _odd_pictures(subject, pictures, fault)
    _, _, odd = odd_texts(subject)
    field = field_of(incident(subject).control.fair.values("raw"))
    return np.array([any(text in odd for text in texts_of([value], field)) for value in side.raw], dtype=bool)


def _odd_pictures(subject: Subject, pictures: Sequence[Array | None], fault: str) -> Array:
    """Which pictures bear the mark of a fault."""
    found = images_of(subject)
    whole = [image for image in pictures if image is not None and image.shape == found.before.shape[1:]]
    side = Images(found.before, np.stack(whole))
    marked = {"unit_change": side.scaled, "gibberish_input": side.noisy, "upstream_default": side.without}
    rows = iter(marked.get(fault, np.ones(len(whole), dtype=bool)))
    shape = found.before.shape[1:]
    return np.array([bool(next(rows)) if image is not None and image.shape == shape else True for image in pictures])


def _again(keys: Sequence[Any]) -> Array:
    seen: set[Any] = set()
    found = []
    for key in keys:
        found.append(key in seen)
        seen.add(key)
    return np.array(found, dtype=bool)


def _undone(side: Side, fault: str, odd: Array, before: Array, healthy: Array, own: float) -> Outcome:
    """The rows dropped; over parts of the time, what is left against the control."""
    if not odd.any() or odd.all():
        return unproven(fault, "none of the requests is free of it", undecided=False)
    change = f"{int(odd.sum())} of {len(side)} samples left out"

    def score(part: Array) -> tuple[float, float]:
        kept = part[~odd[part]]
        as_many = np.random.default_rng(1).permutation(part)[: len(kept)]  # fewer are less alike by chance
        return likeness(before[as_many], healthy), likeness(before[kept], healthy)

    compared = over_parts(len(side), score, METRIC)
    if compared is None:
        return unproven(fault, "too few of the requests are free of it", undecided=False)
    found = outcome(fault, change, compared, METRIC, own)
    if found.confirmed or side.truth.task != "classification":
        return found

    def sure(part: Array) -> tuple[float, float]:
        return _surety(before[part]), _surety(before[part[~odd[part]]])

    again = outcome(fault, change, over_parts(len(side), sure, SURETY), SURETY, _surety(healthy))
    return again if again.confirmed else found


def _surety(scores: Array) -> float:
    """The mean of the highest scores: the accuracy that the model itself expects."""
    known = scores[np.isfinite(scores).all(1)]
    return float(known.max(1).mean()) if len(known) else float("nan")
