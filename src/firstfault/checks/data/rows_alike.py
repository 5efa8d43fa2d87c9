"""Tables whose rows are nearly all the same."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, judge, skipped
from firstfault.checks.data._hashing import scans
from firstfault.data.frames import table
from firstfault.finding import Layer
from firstfault.place import Place
from firstfault.subject.subject import Subject

FEWEST_COLUMNS = 3  # fewer are rare events, perhaps
FEWEST_ROWS = 20  # of fewer, equal rows may well be one case told again


@check(layer=Layer.DATA, needs={"raw"}, detects={"noisy_features": 0.92})
def rows_alike(subject: Subject, *, share: float = 0.9) -> Iterator[Judgement]:
    """Find tables in which nearly every row is the same, as where numbers were cut to 0 by their scaling.

    Measures: the share of the training rows that equal the commonest one.
    Fails when: the share is above `share`.
    Not a fault when: there are fewer than 3 columns.
    Source: a choice of ours: of a tenth of the rows nothing general can be learnt;
        tests/checks/data/test_rows_alike.py holds the cases that it separates.
    """
    frame = table(subject.raw.train.X)
    if frame is None or frame.shape[1] < FEWEST_COLUMNS or len(frame) < FEWEST_ROWS:
        yield skipped(f"only tables of at least {FEWEST_ROWS} rows and {FEWEST_COLUMNS} columns are looked at")
        return
    _, counts = np.unique(scans(subject)["train"].hashes, return_counts=True)
    value = float(counts.max() / len(frame))
    bad = value > share
    yield judge(
        value,
        above=share,
        where=Place.data("train") if bad else None,
        message=f"{int(counts.max())} of {len(frame)} training rows are the same in all {frame.shape[1]} columns",
        fix="divide as float32, and look at how the rows were read",
    )
