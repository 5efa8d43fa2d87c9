"""Pairs of equal rows as a csv: where each is, and its values, personal ones masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.checks.data._hashing import Scan, among
from firstfault.data.frames import table
from firstfault.data.splits import Split
from firstfault.output.spreadsheets import write_frame
from firstfault.subject.subject import Subject

Array = np.ndarray[Any, Any]

MOST_LISTED = 100  # pairs that a person looks through
LOOKED_AT = 200  # rows that show whether a column is personal


class Part(NamedTuple):
    """A split by its name, with its scan."""

    name: str
    split: Split
    rows: Scan


def first_of(hashes: Array, wanted: Array) -> Array:
    """Where each of a few hashes occurs first."""
    places = np.flatnonzero(among(hashes, np.sort(wanted)))
    first = pd.Series(places, index=hashes[places]).groupby(level=0).first()
    return np.asarray(first.loc[wanted].to_numpy())


def write_pairs(subject: Subject, name: str, parts: Sequence[Part], later: Array, first: Array) -> tuple[str, ...]:
    """One line per pair: where the row is, where its equal is, and its values, personal ones masked."""
    ends = np.cumsum([len(part.rows.hashes) for part in parts])
    pairs = {}
    for heading, places in (("", later), ("equal_", first)):
        of = np.searchsorted(ends, places, side="right")
        pairs[f"{heading}split"] = [parts[part].name for part in of]
        pairs[f"{heading}row"] = [
            int(place - (ends[part - 1] if part else 0)) for place, part in zip(places, of, strict=True)
        ]
    lines = pd.DataFrame(pairs)
    frames = [table(part.split.X) for part in parts]
    if all(frame is not None for frame in frames):
        shown = [frames[part_of].iloc[[row]] for part_of, row in _places(lines, parts)]  # type: ignore[union-attr]
        lines = pd.concat([lines, _masked(pd.concat(shown), frames[-1]).reset_index(drop=True)], axis=1)
    write_frame(subject.folder / name, lines)
    return (name,)


def _places(lines: pd.DataFrame, parts: Sequence[Part]) -> list[tuple[int, int]]:
    names = [part.name for part in parts]
    return [(names.index(split), row) for split, row in zip(lines["split"], lines["row"], strict=True)]


def _masked(rows: pd.DataFrame, frame: Any) -> pd.DataFrame:
    """Rows of a frame with personal values masked; what is personal shows in more rows than a few."""
    from firstfault.data.privacy.masking import masked

    return masked(pd.concat([rows, frame.iloc[:LOOKED_AT]], ignore_index=True)).iloc[: len(rows)]
