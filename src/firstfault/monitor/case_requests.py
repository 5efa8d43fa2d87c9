"""The requests of a case: those that the fault answered wrongly, with what is right, and some healthy ones beside them.

What is right is said by the offline truth: the target's own steps and model, on the request with the fault undone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from firstfault.behaviour.cases import Asked, Request
from firstfault.behaviour.scorers import refuses
from firstfault.checks.data._column_marks import Mark, put_back
from firstfault.checks.data._served_marks import marks_of
from firstfault.errors import Missing
from firstfault.faults import FAULTS
from firstfault.finding import Layer
from firstfault.metrics import Array
from firstfault.subject.generation import answer_of
from firstfault.subject.harm import right
from firstfault.subject.incident import incident
from firstfault.subject.offline import Offline
from firstfault.subject.replays import Side, replays
from firstfault.subject.subject import Subject

MOST_WRONG, MOST_HEALTHY, MOST_LABELLED = 40, 10, 400
DRAWS, SURE = 9, 8
"""A value that is lost is drawn so often; the answer is known where it is the same in so many."""
CLOSE = 1e-6
"""Draws of a cut that differ by more, beyond the rounding of 32 bits, are several values."""
MOST_NUMBERS = 512
"""Numbers of a cut, beyond which it is not kept."""
STANDARD_ERRORS = 3.0
ALIKE = 0.02
"""Numbers that differ by less, in deviations of the training's labels, are one answer."""
Kept = tuple[list[Request], float]


def requests_for(subject: Subject, asked: Asked, fault: str, least: float) -> Kept:
    """The requests of an incident's case, and the least share of right answers among them.

    Raises:
        Missing: when nobody can say what is right.
    """
    if asked is Asked.REFUSALS:
        return _refusals(subject), least
    both = replays(subject)
    if asked is Asked.TRUTH:
        return _labelled(both.incident, right(both.control))
    marks = [mark for mark in marks_of(subject) if mark.fault == fault] if _is_of_data(fault) else []
    wrong = _restored(both.incident, marks, fault) if _is_of_data(fault) else _wrong(both.incident, both.truth)
    return [*wrong, *_healthy(both.control, both.truth)], least


def _is_of_data(fault: str) -> bool:
    return fault in FAULTS and FAULTS[fault].layer is Layer.DATA


def _refusals(subject: Subject) -> list[Request]:
    """Prompts that were answered where they are to be refused, or refused where they are to be answered."""
    wrong: list[Request] = []
    healthy: list[Request] = []
    for request, place in incident(subject).requests.answered.samples:
        if request.raw is None or request.label is None or len(wrong) >= MOST_WRONG:
            continue
        text = answer_of(subject, request.raw[place])
        other = refuses(str(request.label[place])) != refuses(text)
        if other or len(healthy) < MOST_HEALTHY:
            (wrong if other else healthy).append(
                Request(request.id, request.raw[place], {"label": text}, request.label[place], healthy=not other)
            )
    return [*wrong, *healthy] if wrong else []


def _labelled(side: Side, usual: Array) -> Kept:
    """Requests with the labels that came; the model is to be right as often as it was before, but for the noise."""
    if side.truth.task == "regression" or not len(usual):
        raise Missing("what is right of numbers, or before any label came, is not known as a share")
    rows = np.flatnonzero(np.isfinite(side.true).all(1))[:MOST_LABELLED]
    share = float((usual.sum() + 1) / (len(usual) + 2))  # Laplace: few that are all right promise no such thing
    noise = np.sqrt(share * (1 - share) * (1 / max(len(rows), 1) + 1 / len(usual)))
    truths, served = side.truth.labels(side.true), side.values("label")
    requests = [
        Request(side.samples[row][0].id, side.raw[row], {"label": truths[row]}, served[row])
        for row in rows
        if side.raw[row] is not None
    ]
    return requests, max(0.0, share - STANDARD_ERRORS * float(noise))


def _wrong(side: Side, truth: Offline) -> list[Request]:
    """Requests that would be answered otherwise offline."""
    said, replayed = side.said, side.replayed
    labels, served = truth.labels(np.nan_to_num(replayed)), side.values("label")
    if truth.task == "regression":
        other = np.abs(said - replayed).max(1) > ALIKE
    else:
        other = said.argmax(1) != np.nan_to_num(replayed).argmax(1)
    rows = np.flatnonzero(other & np.isfinite(replayed).all(1) & np.isfinite(said).all(1))[:MOST_WRONG]
    return [_request(side, truth, row, labels[row], served[row]) for row in rows]


def _request(side: Side, truth: Offline, row: int, label: Any, served: Any, *, healthy: bool = False) -> Request:
    expected: dict[str, Any] = {"label": label}
    tensor = side.prepared[row]
    if tensor.size <= MOST_NUMBERS:
        expected["tensor"] = _short(tensor)
        expected["logits"] = _short(truth.outputs(tensor[None])[0])
    return Request(side.samples[row][0].id, side.raw[row], expected, served, healthy=healthy)


def _short(values: Array) -> Any:
    return [float(f"{value:.6g}") for value in np.asarray(values, dtype=float).reshape(-1)]


def _healthy(side: Side, truth: Offline) -> list[Request]:
    """Healthy requests that are answered alike offline."""
    said, replayed = side.said, side.replayed
    labels, served = truth.labels(np.nan_to_num(replayed)), side.values("label")
    known = np.isfinite(said).all(1) & np.isfinite(replayed).all(1)
    alike = (
        np.abs(said - replayed).max(1) < ALIKE if truth.task == "regression" else said.argmax(1) == replayed.argmax(1)
    )
    rows = np.flatnonzero(known & alike)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_HEALTHY)).astype(int)] if len(rows) else rows
    return [_request(side, truth, row, labels[row], served[row], healthy=True) for row in rows]


def _restored(side: Side, marks: Sequence[Mark], fault: str) -> list[Request]:
    """Requests whose answer is known with the columns put back, and is another one than theirs."""
    if not marks:
        raise Missing(f"what {fault} changed can't be put back in a single request")
    generator = np.random.default_rng(0)
    tensors = [_put_back(side, marks, generator) for _ in range(DRAWS)]
    outputs = [side.truth.outputs(np.nan_to_num(tensor)) for tensor in tensors]
    drawn = [side.truth.labels(side.truth.scores(each)) for each in outputs]
    served, kept = side.values("label"), []
    for row, request in enumerate(side.samples):
        label = _agreed([labels[row] for labels in drawn], regression=side.truth.task == "regression")
        if label is None or side.raw[row] is None or _alike(label, served[row], side.truth):
            continue
        cuts = {"tensor": [one[row] for one in tensors], "logits": [one[row] for one in outputs]}
        expected = {"label": label} | {name: _short(values[0]) for name, values in cuts.items() if _is_known(values)}
        kept.append(Request(request[0].id, side.raw[row], expected, served[row], refusable=True))
        if len(kept) == MOST_WRONG:
            break
    return kept


def _put_back(side: Side, marks: Sequence[Mark], generator: np.random.Generator) -> Array:
    return side.scattered([put_back(value, marks, generator) for value in side.raw], side.truth.prepared)


def _is_known(drawn: Sequence[Array]) -> bool:
    """Whether a cut is the same in every draw, as where a unit is turned back, and small enough to be kept."""
    return drawn[0].size <= MOST_NUMBERS and bool(np.ptp(np.stack(drawn), axis=0).max(initial=0.0) < CLOSE)


def _agreed(labels: Sequence[Any], *, regression: bool) -> Any:
    """The label that nearly all draws give; None where they differ."""
    if regression:
        values = np.array(labels, dtype=float)
        return float(np.median(values)) if values.std() < 0.01 * max(abs(values.mean()), 1e-9) else None
    label, n = Counter(labels).most_common(1)[0]
    return label if n >= SURE else None


def _alike(label: Any, served: Any, truth: Offline) -> bool:
    if truth.task == "regression":
        return served is not None and abs(float(label) - float(served)) <= ALIKE * truth.scale
    return str(label) == str(served)
