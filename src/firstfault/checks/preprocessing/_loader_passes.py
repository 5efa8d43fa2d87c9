"""Passes of the user's loader over rows that are made up to tell what it does: copies of one row, and numbered rows."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from firstfault.errors import Missing, UserCodeError
from firstfault.subject.memo import memo
from firstfault.subject.rerun import Array, fixed_seeds
from firstfault.subject.subject import Subject
from firstfault.training.batches import UserBatches, is_pair
from firstfault.training.recipe import Tensors

PLACE = "training.loader"
MOST_ROWS = 3_000  # these three bound the time and memory of a pass
MOST_VALUES = 16_000_000  # 64 MB of float32
MOST_COLUMNS = 4_096  # of a row: of wider ones a regular selection tells copies apart as well
FEWEST_COPIES = 64  # draws of one row: what augmentation makes of it is known
FEWEST_BATCHES = 2  # of each worker, so that two can be compared
PAIRS_TRIED = 64  # rows among which one far from the first is looked for


class Pass(NamedTuple):
    """The batches of one pass: inputs `(n, D)`, labels `(n, …)`, and the rows' numbers `(N,)` where readable."""

    x: list[Array]
    y: list[Array]
    numbers: Array | None

    @property
    def rows(self) -> Array:
        """The inputs `(N, D)` of all batches; those of equal width where they differ."""
        width = self.x[0].shape[1]
        return np.concatenate([part for part in self.x if part.shape[1] == width])

    @property
    def alike(self) -> bool:
        """Whether every row is the same."""
        rows = self.rows
        largest = float(np.abs(rows).max(initial=0.0))
        return bool(np.abs(rows - rows[:1]).max(initial=0.0) <= 1e-3 * max(1.0, largest))

    def by_number(self) -> Array:
        """The inputs `(N, D)` by the rows' numbers, each once; in the order of the pass without numbers."""
        if self.numbers is None or len(self.numbers) != len(self.rows):
            return self.rows
        return np.asarray(self.rows[np.unique(self.numbers, return_index=True)[1]])


def sampled(subject: Subject, split: str) -> Tensors:
    """At most 3,000 rows of a prepared split in their order, fewer of very large ones."""
    tensors: Tensors = getattr(subject.recipe, split)
    if not len(tensors):
        raise Missing(f"{split} is empty")
    most = min(MOST_ROWS, max(FEWEST_COPIES, MOST_VALUES // max(1, tensors.x[0].numel())))
    if len(tensors) <= most:
        return tensors
    return tensors.rows(np.sort(np.random.default_rng(0).choice(len(tensors), most, replace=False)))


def first_made(subject: Subject, split: str) -> Tensors:
    """The first batch that the user's loader makes of a split, as training calls it.

    Raises:
        Missing: when the target declares no loader, or its batches are no pairs of tensors.
        UserCodeError: when it raises.
    """
    first, _ = _first_batch(subject, split)
    if not is_pair(first) or not first[0].ndim or not first[1].ndim or not len(first[0]):
        raise Missing("the loader's batches are no pairs (x, y) of tensors")
    return Tensors(*first)


def made_for(subject: Subject, split: str) -> Any:
    """What the user's loader returned for a split: a DataLoader, or another iterable."""
    first_made(subject, split)
    return _first_batch(subject, split)[1]


@memo(of="model")
def _first_batch(subject: Subject, split: str) -> tuple[Any, Any]:
    """The first batch of a split, and what the user's loader returned."""
    if subject.recipe.training.loader is None:
        raise Missing("the target declares no loader")
    made = UserBatches(subject.recipe, getattr(subject.recipe, split), split)
    with fixed_seeds():
        return next(iter(made), None), made.batches


def passes(
    subject: Subject, made_up: Tensors, split: str, count: int = 1, batches: int | None = None
) -> list[Pass] | None:
    """Passes over made-up rows, at most so many `batches` of each; None when the loader refuses them."""
    try:
        with fixed_seeds():
            made = UserBatches(subject.recipe, made_up, split)
            found = [
                [batch for batch in islice(made, batches) if is_pair(batch) and len(batch[0])] for _ in range(count)
            ]
    except UserCodeError:
        return None
    return [_pass(pairs, len(made_up)) for pairs in found] if all(found) else None


def _pass(pairs: list[Any], n: int) -> Pass:
    y = [part.detach().cpu().numpy() for _, part in pairs]
    return Pass([flattened(x) for x, _ in pairs], y, _numbers([len(x) for x, _ in pairs], y, n))


def first_numbered(subject: Subject) -> tuple[torch.Tensor, Array] | None:
    """The first training batch of the user's loader, and its rows of train; None where they cannot be told."""
    rows = numbered(subject.recipe.train)
    try:
        with fixed_seeds():
            batch = next(iter(UserBatches(subject.recipe, rows, "train")), None)
    except UserCodeError:
        return None
    if not is_pair(batch):
        return None
    numbers = _numbers([len(batch[0])], [batch[1].detach().cpu().numpy()], len(rows))
    return None if numbers is None else (batch[0], numbers)


def flattened(x: torch.Tensor) -> Array:
    """Inputs `(N, D)` as float64, of very wide ones a regular selection of the values."""
    values = x.detach().cpu().reshape(len(x), -1)
    step = -(-values.shape[1] // MOST_COLUMNS) or 1
    return np.asarray(values[:, ::step].double().numpy())


def _numbers(sizes: list[int], y: list[Array], n: int) -> Array | None:
    """The rows' numbers, where every label is one number of `0 … n - 1`."""
    if any(len(part) != size for part, size in zip(y, sizes, strict=True)):
        return None
    values = [part.reshape(len(part), -1) for part in y]
    if any((part != part[:, :1]).any() for part in values):
        return None
    flat = np.concatenate([part[:, 0] for part in values]).astype(float)
    whole = np.isfinite(flat) & (flat % 1 == 0) & (flat >= 0) & (flat < n)
    return flat.astype(int) if whole.all() and len(np.unique(flat)) > min(2, n - 1) else None


def numbered(rows: Tensors) -> Tensors:
    """The rows with their numbers as labels."""
    numbers = torch.arange(len(rows)).reshape(-1, *[1] * (rows.y.ndim - 1)).expand(rows.y.shape)
    return Tensors(rows.x, numbers.to(rows.y.dtype).contiguous())


def copies(subject: Subject, split: str, which: int = 0) -> list[Pass]:
    """Two passes over copies of one training row, `which` of `prototypes`: what differs is drawn, or due to the place.

    Raises:
        Missing: when the loader refuses copies, or does not use the rows that it is given.
    """
    first = first_made(subject, split)
    if len(first.x) != len(first.y):
        raise Missing("the loader's batches do not have one label per sample")
    found = _copies(subject, split, which)
    if found is None:
        raise Missing("the loader refuses made-up rows")
    if which == 0 and not _reads_its_rows(subject, split):
        raise Missing("the loader does not batch the rows that it is given")
    return found


@memo(of="model")
def _reads_its_rows(subject: Subject, split: str) -> bool:
    """Whether copies of two different rows come out differently: the loader may read samples of its own instead."""
    copied = _copies(subject, split, 0)
    assert copied is not None
    entries = [copied[0], copies(subject, split, 1)[0]]
    first, second = (entry.by_number() for entry in entries)
    return entries[0].alike or first.shape != second.shape or bool(np.abs(first - second).max(initial=0.0) > 0)


@memo(of="model")
def _copies(subject: Subject, split: str, which: int) -> list[Pass] | None:
    size, rows = len(first_made(subject, split)), sampled(subject, split)
    workers = max(1, getattr(made_for(subject, split), "num_workers", 0))
    most = max(FEWEST_BATCHES * workers, -(-FEWEST_COPIES // size))
    wanted = max(len(rows), min(most * size, MOST_ROWS))
    index = torch.arange(wanted) % len(rows)
    row = prototypes(subject).x[which]
    copied = Tensors(row.expand(wanted, *row.shape).clone(), rows.y[index])
    needed = most if split == "train" else None  # numbers are compared over whole passes of validation
    return passes(subject, numbered(copied), split, 2, needed) or passes(subject, copied, split, 2, needed)


@memo(of="model")
def prototypes(subject: Subject) -> Tensors:
    """Two training rows of different labels that are far apart; of one label where there is no other."""
    train = subject.recipe.train
    rows = train.rows(np.random.default_rng(0).permutation(len(train))[:PAIRS_TRIED])
    x = torch.nan_to_num(rows.x.reshape(len(rows), -1).double(), posinf=0.0, neginf=0.0)
    y = rows.y.reshape(len(rows), -1)
    scale = x.std(0, correction=0)
    x = x / torch.where(scale > 1e-9, scale, torch.ones_like(scale))
    differ = (y[:1] != y).any(1)
    apart = (x - x[:1]).square().mean(1) + (differ.double() * 1e6)
    return rows.rows([0, int(apart.argmax())])


def codes_of_rows(*found: Pass) -> list[list[Array]]:
    """For every pass and batch, a number per row: equal rows have equal numbers."""
    everything = np.concatenate([entry.rows for entry in found])
    scale = max(float(np.nanmax(np.abs(everything), initial=0.0)), 1e-12)
    shadow = np.nan_to_num(everything / scale) @ np.random.default_rng(0).normal(size=everything.shape[1])
    codes = iter(pd.factorize(np.round(shadow, 6))[0])
    return [[np.fromiter(islice(codes, len(part)), int, len(part)) for part in entry.x] for entry in found]
