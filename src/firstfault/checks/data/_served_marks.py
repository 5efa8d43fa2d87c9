"""What sets the columns of an incident's raw requests apart from those of its control, and how it is undone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.subject.incident import incident
from firstfault.subject.memo import memo
from firstfault.subject.offline import offline
from firstfault.subject.replays import MASKED, Row, distance, rows_of
from firstfault.subject.subject import Subject

Undo = Callable[[Row, np.random.Generator], Row]
ABSENT = object()
FEWEST = 20
"""Rows of a column on each side, below which nothing is said of it."""
RARE, OFTEN = 0.02, 0.05
"""A value, a type or an absence that 2 % of the control have is nothing new; a mark concerns 5 % of the incident."""
MOVED_P = 1e-3
"""The level at which a column has moved, divided by the number of columns."""
FACTOR = 1.45
"""Scales that differ by less are a drift."""
FITS = 0.5
"""How much of the distance of a column a change of unit must take away."""
FEW = 0.1
"""Distinct values per row, of those that the control has, below which a column stands still."""
RUNS = 0.95
"""How many requests share a column's value with the one before them where it is held."""
FILLS = 0.25
"""By how much a usual value must become more frequent."""
MOST_HELD = 8
"""Values that a column of many can be held at, one after the other."""
MOST_CATEGORIES = 200
"""Texts of more kinds are ids or free text, of which new ones come every day."""
DEFAULTS = frozenset({0, 1, -1, "", "unknown", "other", "none", "n/a", "na", "null", "default", "missing", "?"})
SENTINELS = frozenset({-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999, 999999, -1e6, 1e6, 1e9, -1e9})
UNITS = (10.0, 12.0, 24.0, 60.0, 100.0, 365.25, 1000.0, 3600.0, 1e6, 2.20462, 1.60934, 2.54, 0.3048, 28.3495, 4.184)
"""Powers of ten, units of time, and pounds, miles, inches, feet, ounces and calories in metric ones."""


@dataclass(frozen=True)
class Mark:
    """One thing that is other in an incident's column than in the control's.

    `faults` are what it is evidence for, `certain` says that it is a mark that no healthy change of traffic leaves.
    `undo` puts a row's value back; `tolerated` says that the training's steps would forgive what serving may not.
    """

    column: str
    faults: dict[str, float]
    message: str
    value: float
    undo: Undo
    certain: bool = True
    tolerated: bool = False
    alone: bool = False
    """Whether it is one only where other columns stay as they were: a promotion moves several."""

    @property
    def fault(self) -> str:
        """What it is evidence for in the first place."""
        return max(self.faults, key=lambda name: self.faults[name])


@dataclass(frozen=True)
class Column:
    """A column on both sides: values as they came, `ABSENT` where a row has none."""

    name: str
    before: list[Any]
    after: list[Any]
    known: list[Any]
    """What the training data hold of it, where there is a target."""
    several: int
    """How many columns are compared with it."""
    answers: frozenset[float] = frozenset()
    """What was answered in the time of the incident, where that is numbers."""

    def chunks(self) -> list[list[Any]]:
        """The control in parts as long as the incident, in the order of time: what a column does of itself."""
        size = min(len(self.after), len(self.before) // 3)
        return (
            [self.before[start : start + size] for start in range(0, size * (len(self.before) // max(size, 1)), size)]
            if size >= FEWEST
            else []
        )

    def numbers(self, values: Sequence[Any]) -> Array:
        """Those of some values that are numbers."""
        return np.array([value for value in values if _is_number(value)], dtype=float)

    def draw(self, generator: np.random.Generator) -> Any:
        """One of the control's values."""
        present = [value for value in self.before if value is not ABSENT and value is not None] or self.known
        return present[int(generator.integers(len(present)))] if present else None


@memo(of="trained")
def marks_of(subject: Subject) -> tuple[Mark, ...]:
    """The marks of all columns of the incident's raw requests."""
    seen = incident(subject)
    before, after = rows_of(seen.control.fair.values("raw")), rows_of(seen.requests.fair.values("raw"))
    if len(before) < FEWEST or len(after) < FEWEST:
        return ()
    known = _known(subject)
    answers = frozenset(value for value in seen.requests.values("label") if isinstance(value, float))
    names = list(dict.fromkeys(name for row in (*before, *after) for name in row))
    columns = [
        Column(
            name,
            [row.get(name, ABSENT) for row in before],
            [row.get(name, ABSENT) for row in after],
            known.get(name, []),
            len(names),
            answers,
        )
        for name in names
    ]
    renamed = _renamed(columns)
    marks = [mark for column in columns if column.name not in _names_of(renamed) for mark in _marks(column)]
    moved = {mark.column for mark in marks if mark.fault == "covariate_drift" or mark.alone}
    return (*renamed, *(_drifted(mark) if mark.alone and len(moved) > 1 else mark for mark in marks))


def _drifted(mark: Mark) -> Mark:
    """A value that stands in for others, where other columns moved too: other traffic."""
    return replace(mark, faults={"covariate_drift": 0.6}, certain=False)


def _known(subject: Subject) -> dict[str, list[Any]]:
    try:
        example = offline(subject).example
    except Exception:  # without a target, the control alone is known
        return {}
    if not hasattr(example, "columns"):
        return {}
    return {str(name): example[name].tolist() for name in example.columns}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _share(values: Sequence[Any], chosen: Callable[[Any], bool]) -> float:
    return sum(map(chosen, values)) / len(values) if values else 0.0


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _names_of(marks: Sequence[Mark]) -> set[str]:
    return {name for mark in marks for name in mark.column.split(" → ")}


def _renamed(columns: Sequence[Column]) -> list[Mark]:
    """Fields that went while others came: those whose values are alike are one that was renamed; others just went."""
    gone = [c for c in columns if _share(c.after, _absent) > OFTEN > RARE >= _share(c.before, _absent)]
    came = [c for c in columns if _share(c.before, _absent) >= 1 - RARE and _share(c.after, _absent) < 1 - OFTEN]
    marks = []
    for column in gone:
        twin = min(came, key=lambda other: _unlike(column.before, other.after), default=None)
        if twin is not None and _unlike(column.before, twin.after) < 0.5:
            came.remove(twin)
            marks.append(_rename(column, twin))
        else:
            marks.append(_gone(column))
    return marks


def _absent(value: Any) -> bool:
    return value is ABSENT


def _unlike(before: Sequence[Any], after: Sequence[Any]) -> float:
    """How unlike the present values of two columns are, 0–1; 1 where they are of other types."""
    first = [value for value in before if value is not ABSENT and value is not None]
    second = [value for value in after if value is not ABSENT and value is not None]
    if not first or not second:
        return 1.0
    if all(map(_is_number, first)) and all(map(_is_number, second)):
        return distance(np.array(first, float), np.array(second, float))
    one, other = Counter(map(str, first)), Counter(map(str, second))
    return 1 - sum(min(one[key] / len(first), other[key] / len(second)) for key in one)


def _rename(column: Column, twin: Column) -> Mark:
    def undo(row: Row, generator: np.random.Generator) -> Row:
        back = {name: value for name, value in row.items() if name != twin.name}
        return {**back, column.name: row[twin.name]} if twin.name in row else row

    share = _share(column.after, _absent)
    message = f"{share:.0%} of the requests have no {column.name}, and a {twin.name} of like values instead"
    return Mark(f"{column.name} → {twin.name}", {"schema_change": 0.8}, message, share, undo, tolerated=True)


def _gone(column: Column) -> Mark:
    def undo(row: Row, generator: np.random.Generator) -> Row:
        return row if column.name in row else {**row, column.name: column.draw(generator)}

    share = _share(column.after, _absent)
    message = f"{share:.0%} of the requests have no {column.name}, which all of the control have"
    return Mark(column.name, {"schema_change": 0.8}, message, share, undo, tolerated=True)


def _marks(column: Column) -> list[Mark]:
    """The marks of one column, the most telling kind alone."""
    if all(value is ABSENT for value in column.before) or any(
        isinstance(value, str) and MASKED.search(value) for value in column.before[:FEWEST]
    ):
        return []
    for look in (
        _typed,
        _fed_back,
        _stands_still,
        _one_value,
        _in_runs,
        _filled,
        _new_unit,
        _new_category,
        _beyond,
        _moved,
    ):
        if (mark := look(column)) is not None:
            return [mark]
    return []


def _kind(value: Any) -> str:
    if value is ABSENT or _missing(value):
        return ""
    if isinstance(value, bool):
        return "truth value"
    return "number" if isinstance(value, int | float) else "text" if isinstance(value, str) else type(value).__name__


def _typed(column: Column) -> Mark | None:
    kinds = Counter(filter(None, map(_kind, column.before)))
    if not kinds:
        return None
    usual = kinds.most_common(1)[0][0]
    new = [_kind(value) for value in column.after if _kind(value) and kinds[_kind(value)] <= RARE * len(column.before)]
    share = len(new) / len(column.after)
    if share < OFTEN:
        return None
    named = Counter(new).most_common(1)[0][0]

    def undo(row: Row, generator: np.random.Generator) -> Row:
        value = row.get(column.name, ABSENT)
        if _kind(value) in ("", usual):
            return row
        parsed = _parsed(value, usual)
        return {**row, column.name: column.draw(generator) if parsed is None else parsed}

    message = f"{column.name} is a {named} in {share:.0%} of the requests, and a {usual} in the control"
    return Mark(column.name, {"type_change": 0.8}, message, share, undo, tolerated=True)


def _parsed(value: Any, kind: str) -> Any:
    """A value in the type that it was, where it says the same."""
    if kind == "number":
        if isinstance(value, bool):
            return int(value)
        try:
            return float(str(value).replace(" ", "").replace(",", "."))
        except ValueError:
            return None
    if kind == "text":
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return bool(value) if kind == "truth value" else None


def _present(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not ABSENT]


def _plain(value: Any) -> Any:
    """A value as the key by which equal ones are counted."""
    if _missing(value):
        return None
    return value if isinstance(value, int | float | str | bool) else str(value)


def _fed_back(column: Column) -> Mark | None:
    """A column that holds the model's own answers now."""
    if len(column.answers) < FEWEST:
        return None
    fed = _share(column.after, lambda value: _is_number(value) and float(value) in column.answers)
    usual = _share(column.before, lambda value: _is_number(value) and float(value) in column.answers)
    if fed < 0.3 or fed < usual + 0.25 or len(set(column.numbers(column.after).tolist())) < FEWEST:
        return None
    message = f"{column.name} is an answer that the model gave before in {fed:.0%} of the requests, {usual:.0%} before"
    return Mark(column.name, {"feedback_loop": 0.8}, message, fed, _drawn(column))


def _stands_still(column: Column) -> Mark | None:
    """A column of many values that has few now: the last values before something upstream stopped."""
    before, after = column.numbers(column.before), column.numbers(column.after)
    if len(before) < FEWEST or len(after) < FEWEST:
        return None
    usual = len(np.unique(before)) / len(before)
    now = len(np.unique(after)) / len(after)
    top, times = Counter(after.tolist()).most_common(1)[0]
    # few values that come in turn, or one that is no default
    held = len(set(after.tolist())) <= MOST_HELD < len(set(before.tolist())) / 2
    few = usual >= 0.3 and now <= FEW * usual
    if not (held or few) or _is_special(top, before) or times / len(after) < OFTEN:
        return None
    if top < before.min() or top > before.max():
        return None
    if any(len(set(map(_plain, chunk))) <= max(MOST_HELD, 2 * len(set(after.tolist()))) for chunk in column.chunks()):
        return None
    message = (
        f"{column.name} has {len(np.unique(after))} distinct values in {len(after)} requests, and "
        f"{len(np.unique(before))} in {len(before)} of the control"
    )
    return Mark(column.name, {"stale_feature": 0.8, "upstream_default": 0.2}, message, now, _drawn(column))


def _drawn(column: Column, chosen: Callable[[Any], bool] | None = None) -> Undo:
    """Put a value of the control in place of a row's, or of those that are chosen."""

    def undo(row: Row, generator: np.random.Generator) -> Row:
        if chosen is not None and not chosen(row.get(column.name, ABSENT)):
            return row
        return {**row, column.name: column.draw(generator)}

    return undo


def _is_special(value: Any, before: Array) -> bool:
    """Whether a value is one that programs put in where there is none: a default, a code, or the middle."""
    if value in DEFAULTS or value in SENTINELS:
        return True
    if not _is_number(value) or not len(before):
        return False
    middle = (float(np.mean(before)), float(np.median(before)))
    spread = max(float(before.std()), 1e-12)
    return any(abs(value - each) < 1e-3 * spread for each in middle)


def _one_value(column: Column) -> Mark | None:
    """One value, or none, that is far more frequent than before: what is put in where there is no value."""
    before, after = _present(column.before), _present(column.after)
    if len(before) < FEWEST or len(after) < FEWEST:
        return None
    counts, was = Counter(map(_plain, after)), Counter(map(_plain, before))
    value, times = max(counts.items(), key=lambda item: item[1] / len(after) - was[item[0]] / len(before))
    now, then = times / len(after), was[value] / len(before)
    numbers = column.numbers(before)
    numeric = len(numbers) >= FEWEST
    # a category may become more frequent in sound traffic: it must then fill the column, or be no category at all
    if numeric and len(set(numbers.tolist())) > FEWEST:
        new = then <= RARE and now >= max(OFTEN, 5 * then)
    else:
        new = (
            then <= RARE and now >= OFTEN and (value is None or _lower(value) in DEFAULTS)
        ) or now >= 0.98 > then + 0.2
    if not new or any(_top_share(chunk) >= now - OFTEN for chunk in column.chunks()):
        return None
    outside = _is_number(value) and numeric and not float(numbers.min()) <= float(value) <= float(numbers.max())
    spread = float(numbers.max() - numbers.min()) if numeric else 0.0
    far = outside and (value < numbers.min() - 0.5 * spread or value > numbers.max() + 0.5 * spread)
    if value is None:
        faults = {"missing_values": 0.8, "upstream_default": 0.2}
    elif value not in (0, 1) and ((outside and value in SENTINELS) or far):
        faults = {"sentinel_value": 0.8, "upstream_default": 0.2}
    elif now > 0.9 and numeric and not _is_special(value, numbers):
        faults = {"stale_feature": 0.8, "upstream_default": 0.2}
    else:
        faults = {"upstream_default": 0.8, "stale_feature": 0.2}
    told = "nothing" if value is None else repr(value)
    message = f"{column.name} is {told} in {now:.0%} of the requests, and in {then:.1%} of the control"
    return Mark(column.name, faults, message, now, _drawn(column, lambda item: _plain(item) == value))


def _in_runs(column: Column) -> Mark | None:
    """Requests in a row that share a value, where before each had its own: what was looked up last stays."""
    before, after = _same_as_last(column.before), _same_as_last(column.after)
    if after < RUNS or before > RUNS - 0.2 or any(_same_as_last(chunk) > RUNS - 0.1 for chunk in column.chunks()):
        return None
    message = (
        f"{after:.0%} of the requests have the {column.name} of the one before them, and {before:.0%} of the control"
    )
    return Mark(column.name, {"stale_feature": 0.8, "upstream_default": 0.2}, message, after, _drawn(column))


def _same_as_last(values: Sequence[Any]) -> float:
    plain = [_plain(value) for value in values]
    same = [one == two for one, two in zip(plain, plain[1:], strict=False)]
    return sum(same) / len(same) if same else 0.0


def _filled(column: Column) -> Mark | None:
    """A usual value that stands in for others in equal measure: what is left of these is as it was."""
    before, after = [_plain(v) for v in _present(column.before)], [_plain(v) for v in _present(column.after)]
    if len(before) < FEWEST or len(after) < FEWEST:
        return None
    was, now = Counter(before), Counter(after)
    value = max(now, key=lambda each: now[each] / len(after) - was[each] / len(before))
    more = now[value] / len(after) - was[value] / len(before)
    rest = len(after) - now[value], len(before) - was[value]
    if more < FILLS or len(was) < 3 or min(rest) < FEWEST:
        return None
    names = {*was, *now} - {value}
    apart = 0.5 * sum(abs(now[each] / rest[0] - was[each] / rest[1]) for each in names)
    many = len(names) > MOST_CATEGORIES
    if many or apart > 0.08 + 0.8 * math.sqrt(len(names) / min(rest)):
        return None
    if any(
        Counter(map(_plain, chunk))[value] / len(chunk) >= now[value] / len(after) - OFTEN for chunk in column.chunks()
    ):
        return None
    message = (
        f"{column.name} is {value!r} in {now[value] / len(after):.0%} of the requests, {was[value] / len(before):.0%} "
        "before, at the cost of all its other values alike"
    )
    faults = {"upstream_default": 0.8, "stale_feature": 0.2}
    return Mark(column.name, faults, message, more, _drawn(column, lambda item: _plain(item) == value), alone=True)


def _top_share(chunk: Sequence[Any]) -> float:
    """The share of the most frequent value in a part of the control."""
    return Counter(map(_plain, chunk)).most_common(1)[0][1] / len(chunk)


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _new_unit(column: Column) -> Mark | None:
    """Values that are the control's again once they are divided by one factor, or turned from one scale to another."""
    before, after = column.numbers(column.before), column.numbers(column.after)
    if len(before) < FEWEST or len(after) < FEWEST or len(np.unique(before)) < 5:
        return None
    apart = distance(before, after)
    if apart < max(0.15, _noise(len(before), len(after))):
        return None
    for whole in (after, _outliers(before, after)):
        found = _factor(before, whole) if len(whole) >= FEWEST // 2 else None
        if found is None:
            continue
        scale, shift, left = found
        partial = len(whole) < len(after)
        limits = (float(whole.min()), float(whole.max()))

        def turned(value: Any, scale: float = scale, shift: float = shift, limits: Any = limits) -> Any:
            return (value - shift) / scale if _is_number(value) and limits[0] <= value <= limits[1] else value

        def undo(row: Row, generator: np.random.Generator, turned: Any = turned) -> Row:
            return {**row, column.name: turned(row[column.name])} if column.name in row else row

        share = len(whole) / len(after)
        words = f"{scale:.4g} times" + (f" and {shift:+.4g}" if shift else "")
        of = f"in {share:.0%} of the requests " if partial else ""
        message = (
            f"{column.name} is {words} what it was {of}(median {np.median(whole):.4g}, {np.median(before):.4g} in the "
            f"control): turned back, its distance from the control falls from {apart:.2f} to {left:.2f}"
        )
        return Mark(column.name, {"unit_change": 0.8}, message, scale, undo)
    return None


def _outliers(before: Array, after: Array) -> Array:
    low, high = float(before.min()), float(before.max())
    return after[(after < low) | (after > high)]


def _noise(first: int, second: int) -> float:
    """The distance that two samples of these sizes have by chance once in a hundred."""
    return 1.63 * math.sqrt((first + second) / (first * second))


def _factor(before: Array, after: Array) -> tuple[float, float, float] | None:
    """The scale and the shift that turn the control's values to these, and the distance that is left; None for none."""
    allowed = max(0.1, 1.2 * _noise(len(before), len(after)))
    apart = distance(before, after)
    best: tuple[float, float, float] | None = None
    for scale, shift in _candidates(before, after):
        left = distance(before, (after - shift) / scale)
        if left <= min(allowed, FITS * apart) and (best is None or left < best[2] - 1e-9):
            best = (scale, shift, left)
    return best


def _candidates(before: Array, after: Array) -> list[tuple[float, float]]:
    found = [(1.8, 32.0), (1 / 1.8, -32 / 1.8), (1.0, 273.15), (1.0, -273.15)]
    middle, spread = _ratio(np.median(after), np.median(before)), _ratio(_range(after), _range(before))
    ratios = [ratio for ratio in (middle, spread) if ratio is not None and (ratio < 0 or not _near(ratio))]
    known = [unit for each in UNITS for unit in (each, 1 / each)]
    close = [unit for unit in known for ratio in ratios if ratio > 0 and abs(math.log(unit / ratio)) < 0.15]
    return found + [(ratio, 0.0) for ratio in (*close, *ratios)]


def _near(ratio: float) -> bool:
    return 1 / FACTOR < ratio < FACTOR


def _range(values: Array) -> float:
    return float(np.quantile(values, 0.75) - np.quantile(values, 0.25))


def _ratio(after: float, before: float) -> float | None:
    return float(after / before) if abs(before) > 1e-12 and abs(after) > 1e-12 else None


def _new_category(column: Column) -> Mark | None:
    """Texts that neither the control nor the training has."""
    before = [value for value in column.before if isinstance(value, str)]
    after = [value for value in column.after if isinstance(value, str)]
    known = {value for value in (*before, *column.known) if isinstance(value, str)}
    if len(before) < FEWEST or len(after) < FEWEST or len(set(before)) > MOST_CATEGORIES:
        return None
    if len(set(before)) > 0.5 * len(before):
        return None
    new = Counter(value for value in after if value not in known)
    share = sum(new.values()) / len(column.after)
    if share < RARE:
        return None
    twins = {value: near for value in new if (near := _twin(value, known)) is not None}
    certain = sum(new[value] for value in twins) > 0.5 * sum(new.values())

    def undo(row: Row, generator: np.random.Generator) -> Row:
        value = row.get(column.name)
        if value not in new:
            return row
        return {**row, column.name: twins[value] if value in twins else column.draw(generator)}

    first = new.most_common(1)[0][0]
    told = f", which looks like {twins[first]!r}" if first in twins else ""
    message = (
        f"{column.name} is {first!r}{told} in {new[first] / len(column.after):.0%} of the requests, and never before"
    )
    return Mark(column.name, {"unseen_category": 0.8}, message, share, undo, certain=certain)


def _twin(value: str, known: set[str]) -> str | None:
    """The known category that a new one is another spelling of."""
    plain = _spelt(value)
    return next((each for each in sorted(known) if _spelt(each) == plain and plain), None)


def _spelt(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _beyond(column: Column) -> Mark | None:
    """Numbers beyond all that the control and the training have."""
    before, after = column.numbers([*column.before, *column.known]), column.numbers(column.after)
    if len(before) < FEWEST or len(after) < FEWEST:
        return None
    reach = 0.25 * max(float(before.max() - before.min()), 1e-12)
    low, high = float(before.min()) - reach, float(before.max()) + reach
    share = float(np.mean((after < low) | (after > high)))
    if share < RARE:
        return None
    message = (
        f"{column.name} lies outside of {before.min():.4g} to {before.max():.4g}, where it always was, in {share:.0%} "
        "of the requests"
    )

    def outside(value: Any) -> bool:
        return _is_number(value) and not low <= value <= high

    return Mark(column.name, {"out_of_range": 0.8}, message, share, _drawn(column, outside))


def _moved(column: Column) -> Mark | None:
    """A column whose distribution is another."""
    before, after = column.numbers(column.before), column.numbers(column.after)
    if len(before) >= FEWEST and len(after) >= FEWEST:
        return _moved_numbers(column, before, after)
    return _moved_categories(column)


def _moved_numbers(column: Column, before: Array, after: Array) -> Mark | None:
    from scipy.stats import ks_2samp

    found = ks_2samp(before, after)
    usual = [distance(before, own) for chunk in column.chunks() if len(own := column.numbers(chunk)) >= FEWEST]
    if found.pvalue > MOVED_P / column.several or found.statistic <= max(usual, default=0.0):
        return None
    spread = max(float(before.std()), 1e-12)
    order, place = np.sort(after), np.sort(before)

    def undo(row: Row, generator: np.random.Generator) -> Row:
        value = row.get(column.name)
        if not _is_number(value):
            return row
        rank = (np.searchsorted(order, value, "left") + np.searchsorted(order, value, "right")) / 2 / len(order)
        return {**row, column.name: float(np.quantile(place, min(max(rank, 0.0), 1.0)))}

    message = (
        f"{column.name} moved by {(after.mean() - before.mean()) / spread:+.2f} deviations of the control (Kolmogorov "
        f"and Smirnov {found.statistic:.2f}, p = {found.pvalue:.1g})"
    )
    return Mark(column.name, {"covariate_drift": 0.6}, message, float(found.statistic), undo, certain=False)


def _moved_categories(column: Column) -> Mark | None:
    from scipy.stats import chi2_contingency

    before = Counter(str(_plain(value)) for value in _present(column.before))
    after = Counter(str(_plain(value)) for value in _present(column.after))
    names = sorted({*before, *after})
    if len(names) < 2 or len(names) > MOST_CATEGORIES or not before or not after:
        return None
    p = float(chi2_contingency([[before[name] for name in names], [after[name] for name in names]]).pvalue)
    apart = 0.5 * sum(abs(before[name] / before.total() - after[name] / after.total()) for name in names)
    if p > MOVED_P / column.several or apart < OFTEN:
        return None
    message = f"the shares of {column.name}'s values moved by {apart:.0%} (p = {p:.1g})"
    return Mark(column.name, {"covariate_drift": 0.6}, message, apart, _drawn(column), certain=False)
