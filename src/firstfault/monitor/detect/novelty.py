"""What did not come before: fields that lack, other types, values far out, answers of another kind. Needs the sample.

Of the fields, only those on which the answers depend, where that is known. A new category alone is nobody's incident:
it is one when requests that have it are answered worse than usual, or when a known one stays away since it came: that
was renamed, and the model does not know it any more.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.answers import Scores
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import CoinBets, coin_bets
from firstfault.monitor.detect.dependence import Dependence
from firstfault.monitor.detect.label_errors import distances, wrong
from firstfault.monitor.detect.monitor import CoinMonitor
from firstfault.monitor.detect.table import Column, Schema, kind_of
from firstfault.monitor.record import Outcome

FAR = 1.0
"""A number is far out when it lies beyond the reference's range by so many times its width."""
LEAST = 0.005
"""One request in 200 may be odd."""
ANSWER = "the answer"
MOST_OF_NEW, LEFT = 0.15, 0.25
"""New categories that are nothing but new may come so often, and leave a known one so much of its usual share."""
ALMOST = 0.05
"""The alternative: of what may still come of the known one, so much does."""
COMMON, MOST_COMMON = 0.05, 8
"""Known categories that come so often, and the most common ones of a column, are missed when they stay away."""
UNSURE_QUARTER, AS_USUAL, WORSE = 0.25, 0.4, (0.65, 0.9)
"""Of usual requests, a quarter are in the least sure quarter; of a new category, 40 % may be."""


def novelty(reference: Batch, known: Dependence, looked_at: Scores) -> CoinMonitor | None:
    """The monitor of fields and answers; None where inputs are not known."""
    sample = reference.part(reference.uniform)
    schema = sample.schema
    fields = [name for name in sorted(schema.fields) if known.surrogate is None or name in known.fields]
    if not fields:
        return None
    ranges = _ranges(sample)

    def seen(batch: Batch) -> Array:
        found = [_new_values(batch, name, schema, ranges.get(name)) for name in fields]
        return np.stack([*found, _strange_answers(batch, looked_at)], axis=1)

    happened = seen(sample)
    bets = tuple(coin_bets(float(np.nansum(column)), len(sample), least=LEAST) for column in happened.T)
    words = "{place}: {now:.1%} of the requests lack it, or have another type or a value far out, where {usual:.1%} may"
    return CoinMonitor("novelty", 2.0, (*fields, ANSWER), seen, bets, words=words)


def _ranges(sample: Batch) -> dict[str, tuple[int, float, float]]:
    """Of each number: where it lies in the table, and the ends of what is not far out."""
    found = {}
    for place, name in enumerate(sample.schema.numbers):
        values = sample.numbers[:, place]
        if (~np.isnan(values)).any():
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            width = max(high - low, 1e-9)
            found[name] = place, low - FAR * width, high + FAR * width
    return found


def _new_values(batch: Batch, name: str, schema: Schema, range_: tuple[int, float, float] | None) -> Array:
    """Which requests lack a field, or have it with another type or far out."""
    kinds = schema.kinds[name]
    if range_ is None:
        return np.array([name not in row or kind_of(row[name]) not in kinds for row in batch.rows], dtype=float)
    place, low, high = range_
    values = batch.numbers[:, place]
    with np.errstate(invalid="ignore"):
        found = ((values < low) | (values > high)).astype(float)
    for at in np.flatnonzero(np.isnan(values)):
        row = batch.rows[at]
        found[at] = name not in row or kind_of(row[name]) not in kinds
    return found


def _strange_answers(batch: Batch, looked_at: Scores) -> Array:
    """Which answers are of no class that is known, or can't be read; NaN where nothing was answered."""
    if not looked_at.names:
        return np.full(len(batch), np.nan)
    if looked_at.are_classes:
        found = np.array([name not in looked_at.classes for name in batch.classes], dtype=float)
    else:
        found = np.isnan(looked_at.look(batch)).all(1).astype(float)
    found[batch.ended(Outcome.OK) == 0] = np.nan
    return found


def new_categories(reference: Batch, known: Dependence, are_classes: bool) -> CoinMonitor | None:
    """The monitor of requests with a category that did not come before: are they answered worse than others?"""
    sample = reference.part(reference.uniform)
    columns = [column for column in sample.schema.categories if known.surrogate is None or column.name in known.fields]
    if not columns:
        return None
    sure = sample.confidence[~np.isnan(sample.confidence)]
    limit = float(np.quantile(sure, UNSURE_QUARTER)) if len(sure) else float("nan")
    apart = distances(sample)
    apart = apart[~np.isnan(apart)]
    far = float(np.quantile(apart, 1 - UNSURE_QUARTER)) if len(apart) else float("nan")

    def seen(batch: Batch) -> Array:
        worse = _worse(batch, limit, wrong(batch) if are_classes else _far(batch, far))
        return np.stack([np.where(batch.unknown(column), worse, np.nan) for column in columns], axis=1)

    words = f"{{place}}: a new category, whose requests are {{now:.0%}} unsure or wrong, where {AS_USUAL:.0%} may be"
    bets = tuple(CoinBets(AS_USUAL, WORSE) for _ in columns)
    return CoinMonitor("new_category", 1.0, tuple(column.name for column in columns), seen, bets, words=words)


def renamed_categories(reference: Batch, known: Dependence) -> CoinMonitor | None:
    """The monitor of categories that stay away while unknown ones come, on which the answers depend."""
    if known.surrogate is None:
        return None
    sample = reference.part(reference.uniform)
    pairs = [
        (column, name, share)
        for column in sample.schema.categories
        if column.name in known.fields
        for name, share in _commonest(sample, column)
    ]
    if not pairs:
        return None

    def seen(batch: Batch) -> Array:
        return np.stack([_in_place_of(batch, column, name) for column, name, _ in pairs], axis=1)

    may = [MOST_OF_NEW / (MOST_OF_NEW + LEFT * share) for _, _, share in pairs]
    bets = tuple(CoinBets(usual, (1 - ALMOST * (1 - usual),)) for usual in may)
    places = tuple(f"{column.name}: {name}" for column, name, _ in pairs)
    words = "{place} stays away: {now:.0%} of what came as it or unknown is unknown, where {usual:.0%} may be"
    return CoinMonitor("new_category", 1.0, places, seen, bets, words=words)


def _commonest(sample: Batch, column: Column) -> list[tuple[str, float]]:
    """The categories that come often, and their shares."""
    counts = Counter(str(row[column.name]) for row in sample.rows if row.get(column.name) is not None)
    total = max(1, counts.total())
    return [(name, n / total) for name, n in counts.most_common(MOST_COMMON) if n >= COMMON * total]


def _in_place_of(batch: Batch, column: Column, name: str) -> Array:
    """1 of a request with an unknown category, 0 of one with a known one, NaN of all others."""
    has = np.array([str(row.get(column.name)) == name for row in batch.rows])
    return np.where(batch.unknown(column), 1.0, np.where(has, 0.0, np.nan))


def _far(batch: Batch, limit: float) -> Array:
    """Whether each number is as far from its label as a quarter of the usual ones; NaN where there is no label."""
    apart = distances(batch)
    return np.where(np.isnan(apart), np.nan, apart > limit)


def _worse(batch: Batch, limit: float, errors: Array) -> Array:
    """Whether each answer is wrong, failed or unsure; NaN where nobody can say."""
    failed = batch.ended(Outcome.ERROR, Outcome.REFUSED)
    unsure = np.where(np.isnan(batch.confidence), np.nan, batch.confidence < limit)
    told = np.where(np.isnan(errors), unsure, errors)
    return np.where(failed > 0, 1.0, told)
