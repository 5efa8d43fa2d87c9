"""Personal data: columns of it, and pieces of it in other texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.data.privacy.columns import kinds_of
from firstfault.data.privacy.names import VERSIONS, tokens_of
from firstfault.data.privacy.patterns import MASK, pieces
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

MOST_TEXTS = 3_000  # bounds the time: a piece in one of a thousand texts is found with 95 %
_CODE = re.compile(r"[\d\W_]+")


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def personal_data(subject: Subject, *, fewest: int = 1) -> Iterator[Judgement]:
    """Find columns that look like personal data, and texts that hold pieces of it.

    Measures: the number of rows concerned, in texts of a sample of 3,000. Examples are masked, as in all that a run
        writes.
    Warns when: a column is personal, or at least `fewest` of a column's texts hold a piece. It is no fault of the
        pipeline.
    Not a fault when: a text names somebody by a title (Mr X): it is often a public figure, and does not count.
    Source: GDPR, article 4(1); check digits by ISO 13616 (IBAN) and ISO/IEC 7812 (cards).
    """
    frame = _frame(subject.raw.train.X)
    if frame is None:
        yield skipped("only tables and texts are looked at")
        return
    kinds = kinds_of(frame)
    found = list(_columns(frame, kinds))
    for name in frame.columns:
        if name not in kinds and (judgement := _pieces(frame[name], fewest)) is not None:
            found.append(judgement)
    yield from found or [passed(f"none of {frame.shape[1]} columns looks like personal data")]


def _frame(X: Any) -> pd.DataFrame | None:
    if isinstance(X, pd.DataFrame):
        return X if X.columns.is_unique else None
    array = to_array(X)
    if array.dtype.kind not in "OU" or array.ndim > 2:
        return None
    return pd.DataFrame({"inputs": array}) if array.ndim == 1 else pd.DataFrame(array)


def _columns(frame: pd.DataFrame, kinds: dict[Any, str]) -> Iterator[Judgement]:
    """One finding for all personal columns."""
    if not kinds:
        return
    rows = int(frame[list(kinds)].notna().any(axis=1).sum())
    told = ", ".join(f"{name} ({kind} {MASK})" for name, kind in list(kinds.items())[:8]) + (
        f" and {len(kinds) - 8} more" if len(kinds) > 8 else ""
    )
    yield Judgement(
        Status.WARN,
        f"{len(kinds)} columns look like personal data, in {rows} rows: {told}",
        value=rows,
        threshold=0,
        where=Place.columns(*list(kinds)[:8]),
        faults={},
        fix="drop or pseudonymise them, unless the model needs them and you may use them",
    )


def _pieces(column: pd.Series, fewest: int) -> Judgement | None:
    """A finding for a column's texts that hold personal pieces; None where it has none, or holds codes."""
    if (column.dtype != object and not isinstance(column.dtype, pd.StringDtype)) or tokens_of(
        str(column.name)
    ) & VERSIONS:
        return None
    if len(column) > MOST_TEXTS:
        column = column.iloc[np.sort(np.random.default_rng(0).choice(len(column), MOST_TEXTS, replace=False))]
    texts = [value for value in column if isinstance(value, str)]
    if not texts or 2 * sum(_CODE.fullmatch(text) is not None for text in texts) > len(texts):
        return None
    held = {text: kinds for text in set(texts) if (kinds := {kind for _, _, kind in pieces(text)} - {"name"})}
    rows = [text for text in texts if text in held]
    if len(rows) < fewest:
        return None
    counts = Counter(kind for text in rows for kind in held[text])
    told = ", ".join(f"{kind} {MASK} in {count}" for kind, count in counts.most_common())
    return Judgement(
        Status.WARN,
        f"{len(rows)} of {len(texts)} texts hold personal data: {told}",
        value=len(rows),
        threshold=fewest,
        where=Place.columns(column.name),
        faults={},
        fix="mask these pieces before training; a model can repeat them",
    )
