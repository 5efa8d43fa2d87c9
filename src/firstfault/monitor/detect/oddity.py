"""Texts that are no language, and pictures that are none. Needs the sample.

Of a text: how surprising its pairs of letters are, how far it can be compressed, its script. Of an array: its shape,
and how much neighbours differ: noise is rougher than any picture, and a blank is smoother.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets
from firstfault.monitor.detect.marks import script_of
from firstfault.monitor.detect.monitor import CoinMonitor
from firstfault.monitor.detect.table import Column, shape_of

LEAST = 0.01
"""One request in a hundred may be odd."""
BEYOND = 0.1
"""A mark is odd beyond the range of the reference by so much of its width."""
ODD_TEXT, ODD_ARRAY = ("compressed", "letters", "strange"), ("spread", "rough")


def oddity(reference: Batch) -> CoinMonitor | None:
    """The monitor of texts and arrays; None where there is neither."""
    sample = reference.part(reference.uniform)
    columns = [column for column in sample.schema.columns if column.kind in ("text", "array")]
    if not columns:
        return None
    limits = {column.name: _limits(sample, column) for column in columns}

    def seen(batch: Batch) -> Array:
        return np.stack([_odd(batch, column, limits[column.name]) for column in columns], axis=1)

    happened = seen(sample)
    bets = tuple(coin_bets(float(np.nansum(each)), float((~np.isnan(each)).sum()), least=LEAST) for each in happened.T)
    words = "{place}: {now:.1%} of the requests are no such text or picture as usual, where {usual:.1%} may be"
    return CoinMonitor("gibberish", 2.0, tuple(column.name for column in columns), seen, bets, words=words)


def _places(sample: Batch, column: Column) -> list[int]:
    """Where the marks that may be odd lie among the numbers."""
    wanted = ODD_TEXT if column.kind == "text" else ODD_ARRAY
    return [sample.schema.numbers.index(f"{column.name}: {mark}") for mark in wanted]


def _limits(sample: Batch, column: Column) -> tuple[list[int], Array, Array]:
    places = _places(sample, column)
    values = sample.numbers[:, places]
    with np.errstate(invalid="ignore"):
        low, high = np.nanquantile(values, [0.001, 0.999], axis=0)
    width = BEYOND * (high - low)
    return places, low - width, high + width


def _odd(batch: Batch, column: Column, limits: tuple[list[int], Array, Array]) -> Array:
    places, low, high = limits
    values = batch.numbers[:, places]
    with np.errstate(invalid="ignore"):
        found = ((values < low) | (values > high)).any(1).astype(float)
    kinds = [_kind(row.get(column.name), column) for row in batch.rows]
    return np.where([kind is None for kind in kinds], np.nan, np.maximum(found, [float(kind or 0) for kind in kinds]))


def _kind(value: Any, column: Column) -> bool | None:
    """Whether a text's script, or an array's shape, did not come before; None where there is no value."""
    if value is None:
        return None
    if column.kind == "array":
        return not isinstance(value, list) or shape_of(value) not in column.known
    script = script_of(value) if isinstance(value, str) else ""
    return bool(script) and script not in column.known
