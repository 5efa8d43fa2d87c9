"""Two columns that give the label away together, and neither alone."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.data._leak_sample import ABSENT, Sample, column_of, column_scores, leak_sample, score_of
from firstfault.checks.data.leakage import says_more
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.texts import as_text, hashable

Array = np.ndarray[Any, Any]

FEWEST_ROWS = 200  # 64 cells of three rows each: fewer say nothing of a cell
MOST_PAIRED = 40  # columns, that is 780 pairs: bounds the time
FEW_VALUES = 16  # values of each column of a cross table: 256 cells at most
BINS = 64  # of a difference or ratio: fine enough for a threshold anywhere


class _Pair(NamedTuple):
    """Two columns and how well they predict the label together, and the better of them alone."""

    names: tuple[str, str]
    score: float
    alone: float
    relation: str

    @property
    def exact(self) -> bool:
        """Whether they tell it by values that match or combine, not by an amount."""
        return " − " not in self.relation and " / " not in self.relation


@check(layer=Layer.DATA, needs={"raw"}, detects={"target_leakage": 0.92}, depth=Depth.STANDARD)
def pair_leakage(
    subject: Subject,
    *,
    gives_away: float = 0.98,
    ordinary: float = 0.8,
    left_open: float = 0.08,
    times_surer: float = 4.0,
) -> Iterator[Judgement]:
    """Find two columns that give the label away together, by a simple relation, and neither alone.

    Measures: the best pair's balanced accuracy (R² of ranks for numbers), fitted on half of up to 3,000 rows and judged
        on the other, over up to 40 columns. Tried are the values of two columns of few values (exclusive or), equality,
        difference and ratio.
    Fails when: a pair reaches `gives_away`, each of its columns alone stays below `ordinary`, and few pairs are as
        strong. For differences and ratios a forest over all other columns must leave more than `left_open` open, and
        `times_surer` times the pair's errors.
    Not a fault when: two columns interact honestly, at a score of 0.95.
    Source: Kapoor & Narayanan 2023, features that are not legitimate. The bounds are a choice of ours;
        tests/checks/data/test_leakage.py holds exclusive or, difference, ratio and equality with 1 % noise, and honest
        interactions.
    """
    sample = leak_sample(subject)
    if sample is None or len(sample.target) < FEWEST_ROWS or sample.frame.shape[1] < 3:
        yield skipped(f"only tables of at least {FEWEST_ROWS} rows and 3 columns are looked at")
        return
    scores = column_scores(subject)
    names = [str(name) for name in sample.frame.columns if scores[str(name)] < ordinary]
    pairs = [
        pair
        for first, second in itertools.combinations(_spread(names), 2)
        if (pair := _best_relation(sample, first, second, scores))
    ]
    if not pairs:
        yield skipped("no two columns could be compared")
        return
    best = max(pairs, key=lambda pair: pair.score)
    strong = {name for pair in pairs if pair.score >= gives_away for name in pair.names}
    if (
        not strong
        or len(strong) > max(2, len(names) // 3)
        or not (best.exact or says_more(sample, list(strong), best.score, left_open, times_surer))
    ):
        yield passed(
            f"no pair of columns gives the label away: the best predicts it with {best.score:.3f}", value=best.score
        )
        return
    yield Judgement(
        Status.FAIL,
        f"{best.relation} predicts the label with {best.score:.3f}, either column alone with {best.alone:.3f} at best",
        value=best.score,
        threshold=gives_away,
        where=Place.columns(*best.names),
        fix="drop one of them: together they are the label",
    )


def _spread(names: list[str]) -> list[str]:
    """At most 40 of the names, evenly."""
    return (
        names
        if len(names) <= MOST_PAIRED
        else [names[place] for place in np.linspace(0, len(names) - 1, MOST_PAIRED).astype(int)]
    )


def _best_relation(sample: Sample, first: str, second: str, scores: Mapping[str, float]) -> _Pair | None:
    a, b = column_of(sample, first), column_of(sample, second)
    tried = {relation: _cell_score(cells, sample) for relation, cells in _relations(a, b, first, second)}
    if not tried:
        return None
    relation = max(tried, key=lambda key: tried[key])
    return _Pair((first, second), tried[relation], max(scores[first], scores[second]), relation)


def _relations(a: pd.Series, b: pd.Series, first: str, second: str) -> Iterator[tuple[str, Array]]:
    """What two columns could say together, as cells `(n,)`: whole numbers of which each stands for one answer."""
    codes = [pd.factorize(hashable(column), use_na_sentinel=False) for column in (a, b)]
    if all(len(values) <= FEW_VALUES for _, values in codes):
        yield f"{first} with {second}", codes[0][0] * FEW_VALUES + codes[1][0]
    numeric = [pd.api.types.is_numeric_dtype(column) for column in (a, b)]
    if all(numeric):
        yield from _of_numbers(
            a.to_numpy(dtype=float, na_value=np.nan), b.to_numpy(dtype=float, na_value=np.nan), first, second
        )
    elif not any(numeric):
        yield f"{first} equal to {second}", (as_text(a).to_numpy() == as_text(b).to_numpy()).astype(int)


def _of_numbers(a: Array, b: Array, first: str, second: str) -> Iterator[tuple[str, Array]]:
    relations: dict[str, Callable[[], Array]] = {"−": lambda: a - b, "/": lambda: a / b}
    for sign, relation in relations.items():
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            values = np.nan_to_num(relation(), nan=ABSENT, posinf=1e300, neginf=-1e299)
            edges = np.unique(np.append(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]), 0.0))
        yield f"{first} {sign} {second}", np.searchsorted(edges, values, side="left") + (BINS + 1) * (values == 0)


def _cell_score(cells: Array, sample: Sample) -> float:
    """The score of answering each cell as the other half of the rows does."""
    _, cells = np.unique(cells, return_inverse=True)
    half, count = len(cells) // 2, int(cells.max()) + 1
    predicted = np.zeros(len(cells))
    for own, other in ((slice(None, half), slice(half, None)), (slice(half, None), slice(None, half))):
        predicted[own] = _answers(cells[other], sample.target[other], count, sample.classes)[cells[own]]
    return score_of(predicted, sample)


def _answers(cells: Array, target: Array, count: int, classes: bool) -> Array:
    """The answer of each cell `(count,)`: its common class or mean; an empty cell has that of the one before it."""
    sizes = np.bincount(cells, minlength=count)
    if classes:
        labels = int(target.max()) + 1
        counts = np.bincount(cells * labels + target, minlength=count * labels).reshape(count, labels)
        answers = counts.argmax(1).astype(float)
    else:
        answers = np.bincount(cells, target, minlength=count) / np.maximum(sizes, 1)
    before = np.maximum.accumulate(np.where(sizes, np.arange(count), 0))
    return np.asarray(answers[before])
