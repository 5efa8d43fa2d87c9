"""Values that are not what their column is for: numbers kept as text, impossible dates, infinite numbers."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._unusable_inputs import infinite_inputs
from firstfault.data.folders import listed
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

LOOKED_AT = 1_000  # values of a column that are read as numbers: the error of a share of so many is 1 %
FIRST = 100  # values that must be dates before a whole column is read: most columns are none
# Calendar years that nanoseconds since 1970 hold in 64 bits: beyond them pandas cannot parse a date.
EARLIEST, LATEST = pd.Timestamp.min.year + 1, pd.Timestamp.max.year
PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
GROUPED = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?|[-+]?\d{1,3}(\.\d{3})+,\d+|[-+]?\d+,\d+")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?")


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def numbers_as_text(subject: Subject, *, share: float = 0.9, words: int = 3) -> Iterator[Judgement]:
    """Find columns of text that hold numbers.

    Measures: the number of such columns, from 1,000 values of each: text with separators ("1,234"), fractions, and
        numbers with a few words among them.
    Warns when: `share` or more of a column's values read as numbers, and at most `words` different others are among
        them.
    Not a fault when: all are whole numbers without separators: they may be codes.
    Source: pandas reads a column as text when one of its values is no number. The bounds are a choice of ours;
        tests/checks/data/test_columns.py holds the cases that they separate.
    """
    frame = subject.raw.train.X
    if not isinstance(frame, pd.DataFrame):
        yield skipped("only tables are looked at")
        return
    found = {
        str(name): told
        for name, values in frame.items()
        if values.dtype == object or isinstance(values.dtype, pd.StringDtype)
        if (told := _as_numbers(values, share, words))
    }
    if not found:
        yield passed("no column of text is made of numbers", value=0)
        return
    told = listed([f"{name} ({how})" for name, how in found.items()])
    yield Judgement(
        Status.WARN,
        f"{len(found)} columns are numbers, but read as text: {told}",
        value=len(found),
        threshold=0,
        where=Place.columns(*found),
        fix="parse them: read_csv(thousands=…, decimal=…, na_values=…)",
    )


def _as_numbers(values: pd.Series, share: float, words: int) -> str | None:
    some = values.iloc[:: max(1, len(values) // LOOKED_AT)].tolist()
    texts = [value.strip() for value in some if isinstance(value, str) and value.strip()]
    grouped = sum(GROUPED.fullmatch(text) is not None for text in texts)
    plain = [text for text in texts if PLAIN.fullmatch(text)]
    others = set(texts) - set(plain) - {text for text in texts if GROUPED.fullmatch(text)}
    if not texts or (grouped + len(plain)) / len(texts) < share or len(others) > words:
        return None
    if grouped:
        return "with commas"
    fractions = any("." in text for text in plain)
    if others:
        return f"{len(others)} words among them"
    return "fractions as text" if fractions else None


@check(layer=Layer.DATA, needs={"raw"}, detects={})
def impossible_dates(subject: Subject) -> Iterator[Judgement]:
    """Find dates before 1678 or after 2261, which pandas' nanoseconds cannot hold.

    Measures: the number of such dates, among columns of text or of date objects.
    Warns when: there is one. Such dates are often a code for "never" or "unknown" (9999-12-31, 0001-01-01), and
        overflow once they are parsed.
    Source: pandas, Timestamp limitations.
    """
    frame = subject.raw.train.X
    if not isinstance(frame, pd.DataFrame):
        yield skipped("only tables are looked at")
        return
    found = {str(name): count for name, values in frame.items() if (count := _impossible(values))}
    if not found:
        yield passed(f"no date lies before {EARLIEST} or after {LATEST - 1}", value=0)
        return
    told = listed([f"{name} ({count})" for name, count in found.items()])
    yield Judgement(
        Status.WARN,
        f"{sum(found.values())} dates lie before {EARLIEST} or after {LATEST - 1}: {told}",
        value=sum(found.values()),
        threshold=0,
        where=Place.columns(*found),
        fix="read them as missing, or correct the source",
    )


def _impossible(values: pd.Series) -> int:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return (
            0 if "[ns" in str(values.dtype) else int(((values.dt.year < EARLIEST) | (values.dt.year >= LATEST)).sum())
        )
    if values.dtype != object:
        return 0
    known = values.iloc[:FIRST].dropna().tolist()
    if known and all(isinstance(value, str) and DATE.fullmatch(value) for value in known):
        known = [value for value in values.tolist() if isinstance(value, str)]
        if min(known) >= str(EARLIEST) and max(known) < str(LATEST):
            return 0
        return sum(DATE.fullmatch(value) is not None and not str(EARLIEST) <= value < str(LATEST) for value in known)
    if known and all(isinstance(value, datetime.date) for value in known):
        return sum(
            not EARLIEST <= value.year < LATEST
            for value in values.dropna().tolist()
            if isinstance(value, datetime.date)
        )
    return 0


@check(layer=Layer.DATA, needs={"raw"}, detects={"missing_values": 0.92})
def infinite_values(subject: Subject) -> Iterator[Judgement]:
    """Find infinite numbers in train.

    Measures: the number of infinite values.
    Fails when: one of them reaches the model, where it does the same harm as a missing value, or the steps before it
        refuse them.
    Warns when: the preparation replaces all of them, or the model takes them.
    Source: a number that is not finite makes the loss NaN, so that no bound is needed; benchmarks/localise.py, fault
        missing_values, plants the like.
    """
    X = subject.raw.train.X
    found = _infinite(X)
    if not found:
        yield passed("no number is infinite", value=0)
        return
    total = sum(found.values())
    arrives = infinite_inputs(subject, total)
    yield Judgement(
        Status.FAIL if arrives else Status.WARN,
        f"{total} numbers of train are infinite, in {listed(list(found))}"
        + (f", and {arrives} reach the model" if arrives else ", and none harms the model"),
        value=total,
        threshold=0,
        where=Place.columns(*found),
        faults=None if arrives else {},
        fix="read them as missing, then impute or clip",
    )


def _infinite(X: Any) -> Mapping[str, int]:
    if isinstance(X, pd.DataFrame):
        return {
            str(name): count
            for name, values in X.items()
            if values.dtype.kind == "f" and (count := int(np.isinf(_floats(values)).sum()))
        }
    array = to_array(X)
    count = int(np.isinf(array).sum()) if array.dtype.kind == "f" else 0
    return {"inputs": count} if count else {}


def _floats(values: pd.Series) -> np.ndarray[Any, Any]:
    return values.to_numpy() if isinstance(values.dtype, np.dtype) else values.to_numpy(float, na_value=0.0)
