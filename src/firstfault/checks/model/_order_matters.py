"""Does the order of the positions carry anything, or are the samples sets? Looked for in the data, not in the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

Array = np.ndarray[Any, Any]
ROWS = 1500  # this and the next bound the time of 13 counts
MOST_POSITIONS = 64  # the first of a sample
ENOUGH_TOKENS = 1000  # rows of tokens: of fewer, pairs are too rare to tell order from chance, and it is assumed
MOST_KINDS = 48  # tokens counted each by itself: pairs of them are 48² counts
CHANNELS = 6  # of a vector, which bounds the counts of pairs to 36²
BINS = 6  # quantiles of a number, so that each is frequent
SHUFFLES = 12  # of which the spread of a count is taken
MOST_CLASSES = 6  # more labels than that are cut in thirds, so that each group has rows


def order_matters(
    x: torch.Tensor, y: torch.Tensor, seed: int = 0, *, beyond: float = 6.0, padding: torch.Tensor | None = None
) -> bool:
    """Whether the positions of tokens `(N, T)` or vectors `(N, T, C)` differ from those shuffled in each sample.

    What occurs at each position, and what next to what, is counted by class; numbers in `BINS` quantiles per channel.
    A count that is off the mean of the shuffled ones by `beyond` standard deviations, those of a Poisson count at
    least, is no accident. Neither are steps that are off by twice as many, since few shuffles tell their spread.
    Labels per position go with their positions. `padding` `(N, T)` tells which positions only fill the rows up: they
    stay at the end. On 1,500 rows and 64 positions at most.

    Source: exchangeability; of some 10⁴ counts of shuffled samples none is off by 6 in 10⁴ tests.
    """
    if x.ndim == 2 and len(x) < ENOUGH_TOKENS:
        return True
    x = x[:ROWS, :MOST_POSITIONS]
    kinds, numbers, groups = (
        _kinds(x),
        (x if x.ndim == 3 else x[:, :, None])[:, :, :CHANNELS].float().cpu().numpy(),
        _groups(x, y[:ROWS]),
    )
    if y.ndim > 1 and y.shape[1] == x.shape[1]:
        kinds = np.concatenate([kinds, _kinds(y[:ROWS, :MOST_POSITIONS].unsqueeze(-1).float())], axis=2)
    generator = np.random.default_rng(seed)
    shuffles = [(_shuffled(kinds, order), _shuffled(numbers, order)) for order in _orders(kinds, generator, padding)]
    counts = np.stack([_counts(mine, groups) for mine, _ in shuffles])
    steps = np.stack([_steps(mine, groups) for _, mine in shuffles])
    poisson = np.sqrt(np.maximum(counts.var(0), counts.mean(0)) + 1.0)
    far = np.abs(_counts(kinds, groups) - counts.mean(0)) / poisson
    further = np.abs(_steps(numbers, groups) - steps.mean(0)) / (steps.std(0, ddof=1) + 1e-9)
    return bool((far > beyond).any() or (further > 2 * beyond).any())


def _orders(kinds: Array, generator: np.random.Generator, padding: torch.Tensor | None) -> Iterator[Array]:
    last = 0 if padding is None else padding[:ROWS, :MOST_POSITIONS].cpu().numpy()
    for _ in range(SHUFFLES):
        yield (generator.random(kinds.shape[:2]) + last).argsort(1)


def _shuffled(values: Array, order: Array) -> Array:
    return np.take_along_axis(values, order[:, :, None], axis=1)


def _steps(numbers: Array, groups: Array) -> Array:
    """By group and channel: the mean square of the steps from position to position, and the share that rises."""
    steps = np.diff(numbers, axis=1)
    found = [
        [(steps[groups == group] ** 2).mean((0, 1)), (steps[groups == group] > 0).mean((0, 1))]
        for group in range(int(groups.max()) + 1)
    ]
    return np.array(found).ravel()


def _groups(x: torch.Tensor, y: torch.Tensor) -> Array:
    """The class of each sample, or the third of a number's range; one group for anything else."""
    flat = y.reshape(len(y), -1)
    if flat.shape[1] != 1 or (y.ndim > 1 and y.shape[1] == x.shape[1]):
        return np.zeros(len(y), dtype=int)
    values = flat[:, 0].float().cpu().numpy()
    if len(np.unique(values)) > MOST_CLASSES:
        values = np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)
    return np.unique(values, return_inverse=True)[1].reshape(-1)


def _kinds(x: torch.Tensor) -> Array:
    """What stands at each position, as zeros and ones `(N, T, F)`: frequent tokens, and the quantile of the number."""
    if x.ndim == 2:
        values, counts = torch.unique(x, return_counts=True)
        frequent = values[counts.argsort(descending=True)][:MOST_KINDS]
        each = (x[:, :, None] == frequent).cpu().numpy()
        return np.concatenate([each, *_bins(x[:, :, None].float().cpu().numpy())], axis=2).astype(np.float32)
    return np.concatenate(list(_bins(x[:, :, :CHANNELS].float().cpu().numpy())), axis=2).astype(np.float32)


def _bins(numbers: Array) -> Iterator[Array]:
    for channel in range(numbers.shape[2]):
        values = numbers[:, :, channel]
        place = np.searchsorted(np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])), values)
        yield place[:, :, None] == np.arange(BINS)


def _counts(kinds: Array, groups: Array) -> Array:
    """By group: each kind at each position and in each third of them, and each kind after each."""
    found = []
    for group in range(int(groups.max()) + 1):
        own = kinds[groups == group]
        features = own.shape[2]
        following = own[:, :-1].reshape(-1, features).T @ own[:, 1:].reshape(-1, features)
        found += [own.sum(0).ravel(), following.ravel(), *(part.sum((0, 1)) for part in np.array_split(own, 3, axis=1))]
    return np.concatenate(found)
