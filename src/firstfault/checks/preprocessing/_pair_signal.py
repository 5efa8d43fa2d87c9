"""What the inputs that a watched loop was given say of its targets, as they were paired and moved by some rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from firstfault.checks.data._out_of_fold import answers_out_of_fold
from firstfault.checks.data.signal import Ranking, best, by_column
from firstfault.probe.capture import Capture
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]
MOST_ROWS, MOST_FEATURES, MOST_TARGETS = 1_500, 512, 20  # bound the time of the fits, of which each target costs one
COUNTED = 256  # tokens are counted by what is left of their number
FEW_TOKENS = 4  # of a sample: the place of each is told
FOLDS = 5  # four fifths learn: a loop's captured pairs are few


@dataclass(frozen=True)
class Pairs:
    """Samples as a watched loop was given them: inputs `(N, F)`, targets `(N, K)`, and their places in its dataset.

    Of `classes` targets are 1 in the column of the class; of two, there is one column.
    """

    x: Array
    y: Array
    places: Array
    classes: bool

    def moved(self, rows: int) -> Pairs:
        """The inputs with the targets that lie so many rows later in the dataset."""
        at = {int(place): row for row, place in enumerate(self.places)}
        found = [(row, at[place + rows]) for place, row in at.items() if place + rows in at]
        first, second = np.array(found, int).reshape(-1, 2).T
        return Pairs(self.x[first], self.y[second], self.places[first], self.classes)

    def thinned(self) -> Pairs:
        """At most 1,500 of them, drawn at random."""
        rows = np.random.default_rng(0).permutation(len(self.x))[:MOST_ROWS]
        return Pairs(self.x[rows], self.y[rows], self.places[rows], self.classes)


def pairs_of(subject: Subject, capture: Capture) -> Pairs | None:
    """The pairs of a loop; None where its targets are not numbers or classes of samples."""
    x, y = _features(capture), _targets(subject, capture)
    if x is None or y is None or len(x) != len(y[0]):
        return None
    places: list[int] = []
    for size, rows in zip(capture.sizes, capture.rows, strict=True):
        if rows is None and any(known is not None for known in capture.rows):
            return None
        places += rows if rows is not None else range(len(places), len(places) + size)
    first = np.unique(x, axis=0, return_index=True)[1]  # a second pass over the same rows
    first.sort()
    return Pairs(x[first], y[0][first], np.array(places)[first], y[1])


def _targets(subject: Subject, capture: Capture) -> tuple[Array, bool] | None:
    task = subject.recipe.task
    if task == "language_model" or len({tuple(part.shape[1:]) for part in capture.y}) != 1:
        return None
    y = torch.cat(capture.y).reshape(sum(capture.sizes), -1).double().numpy()
    if task == "classification" and y.shape[1] == 1:
        values, counts = np.unique(y[:, 0], return_counts=True)
        chosen = values[np.argsort(-counts)][:MOST_TARGETS] if len(values) > 2 else values[1:]
        return (y == chosen[None]).astype(float), True
    y = y[:, y.std(0) > 0][:, :MOST_TARGETS] if np.isfinite(y).all() else y[:, :0]
    return (y, False) if y.shape[1] else None


def _features(capture: Capture) -> Array | None:
    parts: list[Array] = []
    for slot in range(len(capture.calls[0].tensors)):
        values = [call.tensors[slot] if slot < len(call.tensors) else None for call in capture.calls]
        known = [value for value in values if value is not None and value.ndim > 0]
        if len(known) < len(values) or [len(value) for value in known] != capture.sizes or _are_targets(known, capture):
            continue
        if len({value.shape[1:] for value in known}) == 1:
            parts.append(_numbers(torch.cat(known)))
        elif known[0].ndim == 2 and not _is_plain(known[0]):  # rows of tokens, each batch as wide as its longest
            parts.append(torch.cat([_counts(value) for value in known]).double().numpy())
    if not parts:
        return None
    joined = np.nan_to_num(np.concatenate(parts, 1), posinf=0.0, neginf=0.0)
    return joined[:, joined.std(0) > 0]


def _are_targets(values: Sequence[torch.Tensor], capture: Capture) -> bool:
    """Whether a tensor of a call holds the labels, which some models are given for their loss."""
    first, target = values[0].reshape(-1), capture.targets[0].reshape(-1)
    return first.shape == target.shape and bool((first.double() == target.double()).all())


def new_rows(known: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Which of some samples are none of those that are known."""
    seen = {row.numpy().tobytes() for row in known.cpu()}
    return torch.tensor([row.numpy().tobytes() not in seen for row in others.cpu()], dtype=torch.bool)


def _numbers(x: torch.Tensor) -> Array:
    """Samples as rows of numbers: some values, or how often each token occurs."""
    if _is_plain(x):
        flat = x.float().reshape(len(x), -1)
        return flat[:, :: -(-flat.shape[1] // MOST_FEATURES)].double().numpy()
    flat = x.long().reshape(len(x), -1) % COUNTED
    placed = [torch.nn.functional.one_hot(flat[:, place], COUNTED) for place in range(min(flat.shape[1], FEW_TOKENS))]
    used = torch.cat([_counts(x), *(placed if flat.shape[1] <= FEW_TOKENS else [])], 1)
    return used.double().numpy()


def _is_plain(x: torch.Tensor) -> bool:
    """Whether a tensor holds values; others hold tokens."""
    return x.is_floating_point() or x.dtype == torch.bool


def _counts(tokens: torch.Tensor) -> torch.Tensor:
    """How often each token occurs in a sample."""
    flat = tokens.long().reshape(len(tokens), -1) % COUNTED
    return torch.zeros(len(tokens), COUNTED).scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float))


def ranking(pairs: Pairs, doubt: float) -> Ranking | None:
    """How a linear model, neighbours or trees order rows that they were not fitted on by their targets.

    The first that is no chance will do. None where nothing can be ranked.
    """
    pairs = pairs.thinned()
    if not pairs.x.shape[1]:
        return None
    found: Ranking | None = None
    for model in _models():
        last = best(by_column(_answers(model, pairs), pairs.y))
        if last is None:
            return None
        if not last.is_chance(doubt):
            return last
        found = last if found is None or last.value > found.value else found
    return found


def _models() -> list[Any]:
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return [
        make_pipeline(StandardScaler(), Ridge(10.0)),
        make_pipeline(StandardScaler(), KNeighborsRegressor(15)),
        RandomForestRegressor(40, min_samples_leaf=5, max_features="sqrt", random_state=0),
    ]


def _answers(model: Any, pairs: Pairs) -> Array:
    """Out-of-fold answers `(N, K)`; of numbers to their ranks, which no far value rules."""
    from scipy.stats import rankdata

    wanted = pairs.y if pairs.classes else rankdata(pairs.y, axis=0) / len(pairs.y)
    return answers_out_of_fold(model, pairs.x, wanted, FOLDS)


def is_given(pairs: Pairs, close: float) -> bool:
    """Whether one of the inputs is the target: a series that is told from its own past."""
    from scipy.stats import rankdata

    pairs = pairs.thinned()
    if pairs.classes or any(len(np.unique(column)) == 2 for column in pairs.y.T):
        areas = [by_column(np.repeat(own[:, None], pairs.y.shape[1], 1), pairs.y) for own in pairs.x.T]
        return any(abs(entry.value) > close for found in areas for entry in found)
    x, y = (rankdata(values, axis=0) - (len(pairs.x) + 1) / 2 for values in (pairs.x, pairs.y))
    sizes = np.sqrt((x**2).sum(0))[:, None] * np.sqrt((y**2).sum(0))[None]
    return bool((np.abs(x.T @ y) / np.maximum(sizes, 1e-12)).max() > close)
