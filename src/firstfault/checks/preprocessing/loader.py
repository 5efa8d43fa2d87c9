"""Does the user's loader take every split down one path, and leave validation rows as they are?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.preprocessing._loader_passes import (
    PLACE,
    Pass,
    copies,
    flattened,
    numbered,
    passes,
    prototypes,
    sampled,
)
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.rerun import Array
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Tensors

MOST_DRAWS = 256  # distances between them: bounds the time and memory
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles that describe a row's values without their places


@check(layer=Layer.PREPROCESSING, needs={"recipe"}, detects={"augmented_validation": 0.95})
def augmented_validation(subject: Subject, *, share: float = 0.01) -> Iterator[Judgement]:
    """Find a loader that augments validation too: two passes over copies of one row differ.

    Measures: the share of the copies with other values in the second pass, matched by number, so that a shuffled
        validation loader is not to blame.
    Fails when: the share is above `share`.
    Warns when: copies differ by their place alone, equally in each pass.
    Source: a choice of ours: a validation row has one value; tests/checks/preprocessing/test_loader.py holds the cases.
    """
    first, second = copies(subject, "validation")
    a, b = first.by_number(), second.by_number()
    if a.shape != b.shape:
        yield skipped("two passes of the validation loader have different sizes")
        return
    value = float(_differ(a, b).mean())
    if value > share:
        yield Judgement(
            Status.FAIL,
            f"{value:.0%} of the copies of one row come out differently in a second pass over validation",
            value=value,
            threshold=share,
            where=Place.setting(PLACE, "validation"),
            fix='augment only where split is "train"',
        )
    elif not first.alike:
        yield Judgement(
            Status.WARN,
            "copies of one row come out of the validation loader differently, though equally in each pass",
            value=value,
            threshold=share,
            where=Place.setting(PLACE, "validation"),
            faults={"augmented_validation": 0.3},
            fix="leave validation rows as they are",
        )
    else:
        yield passed("the validation loader draws nothing", value=value)


def _differ(a: Array, b: Array) -> Array:
    """Which rows `(N,)` differ by more than rounding."""
    scale = max(float(np.nanmax(np.abs(a), initial=0.0)), 1e-12)
    return np.asarray((np.abs(np.nan_to_num(a) - np.nan_to_num(b)) > 1e-4 * scale).any(1))


@check(
    layer=Layer.PREPROCESSING,
    needs={"recipe"},
    detects={"inconsistent_transform": 0.95, "batch_dependent_transform": 0.92},
)
def splits_loaded_differently(subject: Subject, *, apart: float = 6.0, size: float = 0.1) -> Iterator[Judgement]:
    """Find a loader that transforms train and validation in different ways, or a row by the other rows of its batch.

    Measures: the distance of what validation makes of a training row to the nearest of what augmentation draws for it
        in train, by values or by their quantiles, in typical distances between draws.
    Fails when: it is above `apart`, and the distance is more than `size` deviations, too. A row that moves by more than
        `size` deviations among other rows is `batch_dependent_transform`.
    Warns when: the loader changes values alike for both splits: a served model has no loader.
    Source: a choice of ours: 14 kinds of augmentation on 2 image sets stayed below 5, as does a scaling that is small
        beside the augmentation; tests/checks/preprocessing/test_loader.py holds the cases.
    """
    plain, again = copies(subject, "validation")
    if plain.rows.shape != again.rows.shape or _differ(plain.by_number(), again.by_number()).any():
        yield skipped("the validation loader draws at random")
        return
    moved = _moved_by_company(subject, plain)
    if moved is not None and moved > size:
        yield Judgement(
            Status.FAIL,
            f"the same row moves by {moved:.2g} deviations among other rows of a batch",
            value=moved,
            threshold=size,
            where=Place.setting(PLACE, "validation"),
            faults={"batch_dependent_transform": 0.92},
            fix="use statistics fitted on train",
        )
        return
    pairs = [
        (copies(subject, "validation", which)[0].rows, copies(subject, "train", which)[0].rows) for which in (0, 1)
    ]
    if any(held.shape[1] != drawn.shape[1] for held, drawn in pairs):
        yield skipped("the loader gives train and validation rows of different shapes")
        return
    scale = max(float(np.stack([held[0] for held, _ in pairs]).std()), 1e-9)
    value = min(
        max(_outside(held[0], drawn, size * scale), _outside(*_levels(held[0], drawn), size * scale))
        for held, drawn in pairs
    )
    if value > apart:
        yield Judgement(
            Status.FAIL,
            f"a row is {min(value, 999.0):.3g} times as far from all that the loader makes of it in train "
            "as those are apart",
            value=value,
            threshold=apart,
            where=Place.setting(PLACE),
            fix="transform every split alike, and augment train on top",
            faults={"inconsistent_transform": 0.95},
        )
    elif _differs_from_prepared(subject, [held[0] for held, _ in pairs]):
        yield Judgement(
            Status.WARN,
            "the loader changes the prepared values, alike in train and validation; a served model has no loader",
            where=Place.setting(PLACE),
            faults={},
            fix="move what every split needs into preprocess",
        )
    else:
        yield passed("the loader leaves the prepared values as they are, but for augmentation", value=value)


def _outside(row: Array, drawn: Array, least: float) -> float:
    """How far a row is from the nearest draw, in distances between draws; 0 when nearer than `least` per value."""
    drawn = drawn[:MOST_DRAWS]
    distance = float(np.sqrt(((drawn - row) ** 2).sum(1)).min())
    if distance <= least * np.sqrt(len(row)):
        return 0.0
    squares = (drawn**2).sum(1)[:, None] + (drawn**2).sum(1)[None] - 2 * drawn @ drawn.T
    between = np.sqrt(np.maximum(squares[np.triu_indices(len(drawn), 1)], 0.0))
    return distance / max(float(np.median(between)) if len(between) else 0.0, 1e-3 * distance)


def _levels(row: Array, drawn: Array) -> tuple[Array, Array]:
    """Quantiles of a row's own values, which flips, shifts and turns of an image leave nearly as they are."""
    held, others = (np.quantile(values, LEVELS, axis=1).T for values in (row[None], drawn))
    return held[0], others


def _moved_by_company(subject: Subject, alone: Pass) -> float | None:
    """By how many deviations copies of a row differ among other rows; None where they cannot be followed."""
    rows = sampled(subject, "validation")
    mixed = rows.x.clone()
    places = np.random.default_rng(0).random(len(rows)) < 0.5
    mixed[torch.as_tensor(places)] = prototypes(subject).x[0]
    found = passes(subject, numbered(Tensors(mixed, rows.y)), "validation")
    if found is None or found[0].numbers is None or found[0].rows.shape[1] != alone.rows.shape[1]:
        return None
    if len(found[0].numbers) != len(found[0].rows):
        return None
    own = found[0].rows[places[found[0].numbers]]
    if not len(own):
        return None
    scale = max(float(np.nanstd(found[0].rows)), 1e-9)
    return float(np.quantile(np.abs(own - alone.rows[:1]).max(0), 0.75)) / scale


def _differs_from_prepared(subject: Subject, given: list[Array]) -> bool:
    prepared = [flattened(row[None])[0] for row in prototypes(subject).x]
    return any(
        row.shape != other.shape or not np.allclose(row, other, rtol=1e-3, atol=1e-5, equal_nan=True)
        for row, other in zip(prepared, given, strict=True)
    )
