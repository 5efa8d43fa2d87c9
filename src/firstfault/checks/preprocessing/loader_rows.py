"""Does the user's loader give every row, and with its own label?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.preprocessing._loader_passes import (
    PLACE,
    copies,
    first_made,
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

PASSES = 4  # a draw with replacement misses 2 % of the rows in all of them, and e⁻¹ in one


@check(layer=Layer.PREPROCESSING, needs={"recipe"}, detects={"misaligned_labels": 0.95})
def labels_parted_by_loader(subject: Subject, *, agreement: float = 0.9) -> Iterator[Judgement]:
    """Find a loader that parts inputs from their labels.

    Measures: the share of the rows, 0.5–1, that leave the loader with their own label. They are copies of two rows,
        each with its label, and told apart by which of the two they are nearer to.
    Fails when: the share is below `agreement`.
    Not a fault when: augmentation makes the copies of the two rows overlap: nothing is judged.
    Source: a choice of ours; tests/checks/preprocessing/test_loader.py holds the cases that it separates.
    """
    pair = prototypes(subject)
    first_made(subject, "train")
    if bool((pair.y[0] == pair.y[1]).all()):
        yield skipped("there are no two labels")
        return
    found = {
        split: value for split in ("train", "validation") if (value := _agreement(subject, split, pair)) is not None
    }
    if not found:
        yield skipped("copies of two rows cannot be told apart, or the loader refuses them")
        return
    worst = min(found, key=lambda split: found[split])
    yield judge(
        found[worst],
        below=agreement,
        where=Place.setting(PLACE, worst),
        fix="index, shuffle and collate inputs and labels together",
        message=f"{found[worst]:.0%} of the copies of two rows leave the loader with their own label",
    )


def _agreement(subject: Subject, split: str, pair: Tensors) -> float | None:
    centres, nearness = _told_apart(subject, split)
    if centres is None:
        return None
    n = max(len(sampled(subject, split)), 4 * len(first_made(subject, split)))
    which = torch.as_tensor(np.random.default_rng(0).integers(0, 2, n))
    found = passes(subject, Tensors(pair.x[which], pair.y[which]), split)
    if found is None or any(len(x) != len(y) for x, y in zip(found[0].x, found[0].y, strict=True)):
        return None
    if len({part.shape[1:] for part in found[0].y}) > 1 or found[0].rows.shape[1] != centres.shape[1]:
        return None
    inputs, labels = nearness(found[0].rows) > 0, _side(np.concatenate(found[0].y))
    same = float((inputs == labels).mean())
    return max(same, 1 - same)


def _told_apart(subject: Subject, split: str) -> tuple[Array | None, Callable[[Array], Array]]:
    """The two rows as loaded, and a function above 0 nearer to the second; None where their copies overlap."""
    first, second = (copies(subject, split, which)[0].rows for which in (0, 1))
    if first.shape[1] != second.shape[1]:
        return None, lambda rows: rows[:, 0]
    centres = np.stack([first.mean(0), second.mean(0)])
    towards = centres[1] - centres[0]

    def nearness(rows: Array) -> Array:
        return np.asarray((rows - centres.mean(0)) @ towards)

    told = towards.any() and (nearness(first) < 0).mean() > 0.97 and (nearness(second) > 0).mean() > 0.97
    return (centres if told else None), nearness


def _side(y: Array) -> Array:
    """Which of two labels `(N,)` a row carries; the nearer one where labels are mixed or smoothed."""
    values = y.reshape(len(y), -1).astype(float)
    towards = values[np.abs(values - values[:1]).sum(1).argmax()] - values[0]
    return np.asarray((values - values[0]) @ towards > 0.5 * (towards @ towards))


@check(layer=Layer.PREPROCESSING, needs={"recipe"}, detects={"row_loss": 0.92})
def rows_lost_by_loader(subject: Subject, *, lost: float = 0.05) -> Iterator[Judgement]:
    """Find rows that the loader never gives.

    Measures: the share of numbered rows that are missing from four passes over train, or two over validation.
    Fails when: the share is above `lost`, at least a batch is missing, and rows seen only once are few beside the
        unseen ones (a tenth): rows seen once tell that more would come.
    Warns when: the last batch is dropped, and is always the same; or rows can't be numbered, and a pass lacks a batch
        or more.
    Not a fault when: a sampler draws with replacement: it loses nothing for good.
    Source: Good 1953 (the unseen are estimated by those seen once). The bound is a choice of ours;
        tests/checks/preprocessing/test_loader.py holds the cases that it separates.
    """
    worst: Judgement | None = None
    for split, count in (("train", PASSES), ("validation", 2)):
        found = _lost(subject, split, count, lost)
        if worst is None or found.status is Status.FAIL:
            worst = found
        if found.status is Status.FAIL:
            break
    assert worst is not None
    yield worst


def _lost(subject: Subject, split: str, count: int, lost: float) -> Judgement:
    size, rows = len(first_made(subject, split)), numbered(sampled(subject, split))
    found = passes(subject, rows, split, count)
    if found is None or any(entry.numbers is None for entry in found):
        return _counted(subject, split, lost)
    seen = np.bincount(
        np.concatenate([entry.numbers for entry in found if entry.numbers is not None]), minlength=len(rows)
    )
    unseen, once = int((seen == 0).sum()), int((seen == 1).sum())
    value, place = unseen / len(rows), Place.setting(PLACE, split)
    gone = value > lost and once <= 0.1 * unseen
    message = f"{value:.0%} of the rows of {split} are in none of {count} passes"
    if gone and unseen >= size:
        return Judgement(
            Status.FAIL, message, value=value, threshold=lost, where=place, fix="let the sampler draw from every row"
        )
    if gone and len(getattr(subject.recipe, split)) % size > lost * len(getattr(subject.recipe, split)):
        return Judgement(
            Status.WARN,
            f"{message}: the last batch is dropped, and always the same",
            value=value,
            threshold=lost,
            where=place,
            faults={"row_loss": 0.3},
            fix="shuffle, or keep the last batch",
        )
    return passed(message, value=value)


def _counted(subject: Subject, split: str, lost: float) -> Judgement:
    """The weaker test, where rows cannot be numbered: how many come in one pass."""
    rows, size = sampled(subject, split), len(first_made(subject, split))
    found = passes(subject, rows, split)
    if found is None:
        return skipped("the loader refuses numbered rows and a sample of rows")
    given = sum(len(part) for part in found[0].x)
    value = 1 - given / len(rows)
    status = Status.WARN if value > lost and len(rows) - given >= size else Status.PASS
    return Judgement(
        status,
        f"a pass gives {given} of {len(rows)} rows of {split}, which cannot be followed further",
        value=value,
        threshold=lost,
        where=Place.setting(PLACE, split) if status is Status.WARN else None,
        faults={"row_loss": 0.3},
    )
