"""Categories that stand in several spellings, which a model takes for several categories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._classes import plain
from firstfault.checks.data._free_texts import free_texts
from firstfault.data.folders import listed
from firstfault.data.splits import Split, Splits
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.rerun import apart, reference_run, rerun
from firstfault.subject.subject import Subject

LONG = 3
"""Characters that a category has at least: shorter ones may be codes that case tells apart (k and K of chess)."""
REPEATED = 2.0
"""Rows of a value on average, without which a column holds names and ids, and no categories."""


@check(layer=Layer.DATA, needs={"raw"}, detects={"unseen_category": 0.85})
def category_spellings(subject: Subject, *, share: float = 0.05, values: int = 2) -> Iterator[Judgement]:
    """Find columns whose categories stand in several spellings.

    Measures: the share of training rows that spell a category otherwise than most rows do, by case, blanks and
        punctuation around it.
    Fails when: the share is above `share`, at least `values` categories are spelt so, and the preparation makes
        something else of them than of their usual spelling.
    Warns when: such a category occurs.
    Not a fault when: the preparation makes them alike, or leaves the column out.
    Source: a choice of ours, beside 0.1 % of typing errors; tests/checks/data/test_spellings.py holds the cases.
    """
    frame = subject.raw.train.X
    if not isinstance(frame, pd.DataFrame):
        yield skipped("only tables are looked at")
        return
    meant = {name: found for name in _categorical(frame) if (found := _usual_spellings(frame[name]))}
    if not meant:
        yield passed("every category has one spelling", value=0)
        return
    shares = {name: float(frame[name].isin(list(found)).mean()) for name, found in meant.items()}
    many = [name for name, found in meant.items() if shares[name] > share and len(set(found.values())) >= values]
    fails = bool(many) and _told_apart(subject, {name: meant[name] for name in many})
    places = many if fails else list(meant)
    name = max(places, key=lambda name: shares[name])
    other, usual = next(iter(meant[name].items()))
    yield Judgement(
        Status.FAIL if fails else Status.WARN,
        f"{listed([str(place) for place in places])} spell categories in several ways: {name} is spelt otherwise than "
        f"in most rows in {shares[name]:.1%} of them, as {other!r} for {usual!r}",
        value=shares[name],
        threshold=share if fails else 0.0,
        where=Place.columns(*map(str, places)),
        faults=None if fails else {},
        fix="bring categories to one spelling where they enter",
    )


def _categorical(frame: pd.DataFrame) -> list[str]:
    """The columns of text but free text."""
    free = free_texts(frame)
    once = frame.columns[~frame.columns.duplicated(keep=False)]
    texts = [name for name in once if name not in free and not pd.api.types.is_numeric_dtype(frame[name])]
    return [name for name in texts if frame[name].map(lambda value: isinstance(value, str)).any()]


def _usual_spellings(column: pd.Series) -> dict[str, str]:
    """By spelling that another is more common than: that other one."""
    texts = Counter(value for value in column if isinstance(value, str))
    usual: dict[str, str] = {}
    for text, _ in texts.most_common():
        usual.setdefault(plain(text), text)
    if texts.total() < REPEATED * len(usual):
        return {}
    return {text: usual[plain(text)] for text in texts if usual[plain(text)] != text and len(plain(text)) >= LONG}


def _told_apart(subject: Subject, meant: dict[str, dict[str, str]]) -> bool:
    """Whether the preparation makes something else of the spellings than of the usual ones."""
    respelt = Splits(*(Split(_respelt(split.X, meant), split.y) for _, split in subject.raw.items()))
    first, again = reference_run(subject), rerun(subject, respelt)
    return first is not None and again is not None and apart(first.train.X, again.prepared.train.X).share > 0


def _respelt(frame: pd.DataFrame, meant: dict[str, dict[str, str]]) -> pd.DataFrame:
    changed = {
        name: frame[name].map(lambda value, known=known: known.get(value, value)) for name, known in meant.items()
    }
    return frame.assign(**changed)
