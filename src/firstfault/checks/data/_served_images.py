"""What sets the pictures of an incident apart from those of its control: brightness, noise, parts without content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.subject.incident import incident
from firstfault.subject.likeness import distance
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

FEWEST = 20
"""Pictures on each side, below which nothing is said of them."""
SMALLEST = 4
"""Pixels a side; a smaller array is a table."""
LINES = 2
"""Lines of pixels that must be empty where they never were."""
RARELY = 0.02
"""The share of the control's pictures in which a line may be empty that has content as a rule."""


@dataclass(frozen=True)
class Images:
    """The pictures of both sides; `shape` is that of one."""

    before: Array
    now: Array

    @property
    def factor(self) -> float | None:
        """The factor by which brightness and contrast of a part of the pictures are other; None where there is none."""
        ratio = _median_ratio(self.now[self.scaled], self.before) if self.scaled.any() else 1.0
        return ratio if not 1 / 1.45 < ratio < 1.45 else None

    @property
    def scaled(self) -> Array:
        """Which pictures are brighter or darker than any of the control, by their brightest pixel."""
        high, usual = _highest(self.now), _highest(self.before)
        return np.asarray((high > 1.3 * usual.max()) | (high < 0.7 * usual.min()))

    @property
    def noisy(self) -> Array:
        """Which pictures are rougher than 99 % of the control's, by far: neighbouring pixels are strangers."""
        limit = float(np.quantile(_roughness(self.before), 0.99))
        return np.asarray(_roughness(self.now) > max(1.1 * limit, limit + 0.05))

    @property
    def without(self) -> Array:
        """Which pictures have lines without content where hardly any of the control's has one."""
        always = _empty_lines(self.before).mean(0) <= RARELY
        return np.asarray(_empty_lines(self.now)[:, always].sum(1) >= LINES)

    @property
    def noise(self) -> bool:
        """Whether the rough pictures have nothing of a picture left, while the others are as they always were."""
        rough = _roughness(self.now)
        if not self.noisy.any():
            return False
        rest = rough[~self.noisy]
        as_before = len(rest) < FEWEST or distance(_roughness(self.before), rest) < 0.3
        return bool(np.median(rough[self.noisy]) > 0.85) and as_before

    @property
    def rougher(self) -> float:
        """The distance of the pictures' roughness from the control's, 0–1."""
        return distance(_roughness(self.before), _roughness(self.now))


def _median_ratio(now: Array, before: Array) -> float:
    return float(np.median(np.abs(now).mean((1, 2))) / max(float(np.median(np.abs(before).mean((1, 2)))), 1e-9))


def _highest(images: Array) -> Array:
    return np.asarray(np.abs(images).max((1, 2)))


def _roughness(images: Array) -> Array:
    """The mean step between neighbours over the mean distance of any two pixels, about 0 to 1."""
    steps = (np.abs(np.diff(images, axis=1)).mean((1, 2)) + np.abs(np.diff(images, axis=2)).mean((1, 2))) / 2
    flat = np.sort(images.reshape(len(images), -1), axis=1)
    n = flat.shape[1]
    weights = 2 * np.arange(n) - n + 1
    spread = 2 * (flat * weights).sum(1) / (n * n)
    return np.asarray(steps / np.maximum(spread, 1e-9))


def _empty_lines(images: Array) -> Array:
    """Which rows and columns of each picture are of one colour `(N, H + W)`."""
    return np.asarray(np.hstack([np.ptp(images, axis=2) < 1e-9, np.ptp(images, axis=1) < 1e-9]))


@memo(of="raw")
def images_of(subject: Subject) -> Images:
    """The pictures among the raw requests.

    Raises:
        Missing: when these are none.
    """
    seen = incident(subject)
    before, now = pictures(seen.control.fair.values("raw")), pictures(seen.requests.fair.values("raw"))
    if before is None or now is None or before.shape[1:] != now.shape[1:] or min(len(before), len(now)) < FEWEST:
        raise Missing("the raw requests are no pictures")
    return Images(before, now)


def pictures(values: Sequence[Any]) -> Array | None:
    """Raw samples as pictures `(N, H, W)`, channels averaged; None where most are none."""
    found = [image for value in values if (image := picture_of(value)) is not None]
    shapes = {image.shape for image in found}
    if len(found) < max(FEWEST, len(values) // 2) or len(shapes) != 1:
        return None
    return np.stack(found)


def picture_of(value: Any) -> Array | None:
    """A raw sample as a picture `(H, W)`; None where it is none."""
    if isinstance(value, dict):
        value = next(iter(value.values())) if len(value) == 1 else None
    if not isinstance(value, list):
        return None
    try:
        image = np.asarray(value, dtype=float)
    except (ValueError, TypeError):
        return None
    if image.ndim == 3:
        image = image.mean(int(np.argmin(image.shape)))
    return image if image.ndim == 2 and min(image.shape) >= SMALLEST and np.isfinite(image).all() else None
