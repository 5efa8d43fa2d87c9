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
SIDE = 8  # smaller arrays are windows or patches, no images
SAME_VALUES = 0.9999  # of the sorted values: a step that scales keeps their order, one that moves them all of it
SEEN_IMAGES = 64  # their median correlation is stable, and a step moves all alike
PERMUTE = "permute the axes: X.transpose(0, 3, 1, 2), or x.permute(0, 3, 1, 2)"
CHANNELS = (2, 3, 4)  # more are no channels of an image; one can't be moved wrongly


@check(layer=Layer.PREPROCESSING, needs={"pipeline"}, detects={"scrambled_axes": 0.95})
def scrambled_axes(
    subject: Subject, *, alike: float = 0.9, margin: float = 0.15, torn: float = 1.25
) -> Iterator[Judgement]:
    """Find images whose channel axis was moved by reshaping instead of permuting.

    Measures: the correlation, image by image, of a step's result with a reshape of what came in. Steps are looked at
        that turn `(N, H, W, C)` into `(N, C, H, W)`, or back.
    Fails when: the reshape explains the result by at least `alike`, and a permutation explains it worse by `margin`; or
        the result holds the same values, and neighbours differ by `torn` times as much as they did.
    Source: Humbatova et al. 2020, wrong shape or format of the input data; neighbouring pixels of images are correlated
        (Ruderman 1994). tests/checks/preprocessing/test_axes.py holds the cases.
    """
    looked = False
    for before, after in itertools.pairwise(subject.pipeline.stages):
        first, second = (numbers(stage.splits.train.X)[:SEEN_IMAGES] for stage in (before, after))
        pair, apart = _moved_channels(first, second), _apart(first, second)
        looked = looked or pair is not None or apart is not None
        if apart is not None and apart > torn:
            yield Judgement(
                Status.FAIL,
                f"{after.name} moves the pixels of images: neighbours differ by {apart:.1f} times as much as they did",
                value=apart,
                threshold=torn,
                where=Place.stage(after.name),
                fix=PERMUTE,
            )
            return
        if pair is None:
            continue
        by_view, by_permutation = pair
        if by_view >= alike and by_permutation < by_view - margin:
            yield Judgement(
                Status.FAIL,
                f"{after.name} reshapes images instead of permuting their axes: the result follows the "
                f"reshape by {by_view:.2f} and the permutation by {by_permutation:.2f}",
                value=by_view,
                threshold=alike,
                where=Place.stage(after.name),
                fix=PERMUTE,
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


def _apart(first: Array, second: Array) -> float | None:
    """How many times as much neighbours differ after a step that only moves values; None of other steps and arrays."""
    if first.ndim != 4 or first.shape != second.shape or first.shape[1] not in CHANNELS or min(first.shape[2:]) < SIDE:
        return None
    flat = [np.sort(values.reshape(len(values), -1), axis=1) for values in (first, second)]
    if _correlation(*flat) < SAME_VALUES or (before := _roughness(first)) <= 0:
        return None
    return _roughness(second) / before


def _roughness(images: Array) -> float:
    """The mean difference of neighbouring pixels of images `(N, C, H, W)`, in deviations of an image."""
    steps = np.abs(np.diff(images, axis=3)).mean((1, 2, 3)) + np.abs(np.diff(images, axis=2)).mean((1, 2, 3))
    return float(np.median(steps / np.maximum(images.std((1, 2, 3)), 1e-12)))
