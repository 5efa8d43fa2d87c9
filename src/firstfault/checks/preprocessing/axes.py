"""Do images keep their axes? A reshape where a permutation is due tears neighbouring pixels apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.training.stages import numbers

Array = np.ndarray[Any, Any]
SEEN_IMAGES = 64  # their median correlation is stable, and a step moves all alike
CHANNELS = (2, 3, 4)  # more are no channels of an image; one can't be moved wrongly


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"scrambled_axes": 0.95})
def scrambled_axes(subject: Subject, *, alike: float = 0.9, margin: float = 0.15) -> Iterator[Judgement]:
    """Find images whose channel axis was moved by reshaping instead of permuting.

    Measures: the correlation, image by image, of a step's result with a reshape of what came in. Steps are looked at
        that turn `(N, H, W, C)` into `(N, C, H, W)`, or back.
    Fails when: the reshape explains the result by at least `alike`, and a permutation explains it worse by `margin`.
    Source: Humbatova et al. 2020, wrong shape or format of the input data; neighbouring pixels of images are correlated
        (Ruderman 1994). tests/checks/preprocessing/test_axes.py holds the cases.
    """
    looked = False
    for before, after in itertools.pairwise(subject.pipeline.stages):
        pair = _moved_channels(
            numbers(before.splits.train.X)[:SEEN_IMAGES], numbers(after.splits.train.X)[:SEEN_IMAGES]
        )
        if pair is None:
            continue
        looked = True
        by_view, by_permutation = pair
        if by_view >= alike and by_permutation < by_view - margin:
            yield Judgement(
                Status.FAIL,
                f"{after.name} reshapes images instead of permuting their axes: the result follows the "
                f"reshape by {by_view:.2f} and the permutation by {by_permutation:.2f}",
                value=by_view,
                threshold=alike,
                where=Place.stage(after.name),
                fix="permute the axes: X.transpose(0, 3, 1, 2), or x.permute(0, 3, 1, 2)",
            )
            return
    yield passed("channels are moved by permuting") if looked else skipped("no step moves a channel axis")


def _moved_channels(first: Array, second: Array) -> tuple[float, float] | None:
    """Correlation of the result with a reshape and with a permutation of its source; None for other steps."""
    if first.ndim != 4 or second.ndim != 4 or len(first) != len(second) or first[0].size != second[0].size:
        return None
    for axes, channels in (((0, 3, 1, 2), first.shape[3]), ((0, 2, 3, 1), first.shape[1])):
        permuted = first.transpose(axes)
        if channels in CHANNELS and permuted.shape == second.shape and permuted.shape != first.shape:
            return _correlation(first.reshape(second.shape), second), _correlation(permuted, second)
    return None


def _correlation(a: Array, b: Array) -> float:
    """Median correlation over images of values at the same place."""
    first, second = (
        values.reshape(len(values), -1) - values.reshape(len(values), -1).mean(1, keepdims=True) for values in (a, b)
    )
    norms = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return float(np.median(np.nan_to_num((first * second).sum(1) / np.maximum(norms, 1e-12))))
