"""Slices: conjunctions of what cases have, in which many more are marked than elsewhere, and than in shuffled marks.

Level by level, as SliceLine does it: single literals, pairs, then the best pairs with a third, each level one product
of matrices; a slice below the least support is left out with all that lies in it (Sagadeeva and Boehm 2021). The score
is the hypergeometric z of the marked cases in the slice, which does not favour small ones; its null distribution are
the best scores of shuffled marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from firstfault.metrics import Array

SUPPORT = 8
"""Cases of a slice, at least: fewer are read one by one."""
MOST_LITERALS = 500
"""The best supported ones that are searched: 125,000 pairs, in a tenth of a CPU second."""
BEAM = 20
"""Pairs that are tried with a third literal."""
SHORTER = 0.95
"""Of the best score, with which a shorter conjunction is preferred: the name is for people."""


@dataclass(frozen=True)
class Slice:
    """A conjunction of literals, its cases, those of them that are marked, and its score."""

    literals: tuple[str, ...]
    cases: int
    marked: int
    score: float

    @property
    def share(self) -> float:
        """The share of its cases that are marked."""
        return self.marked / self.cases

    def __str__(self) -> str:
        return f"{' and '.join(self.literals)} ({self.marked} of {self.cases})"


@dataclass(frozen=True)
class Table:
    """Which case has which literal, `(N, L)`, without what is too rare, in all cases, or the same as another."""

    names: tuple[str, ...]
    has: Array

    @classmethod
    def of(cls, cases: Sequence[Iterable[str]], support: int = SUPPORT) -> Table:
        """The table of some cases' literals."""
        rows = [set(case) for case in cases]
        counts: dict[str, int] = {}
        for row in rows:
            for name in row:
                counts[name] = counts.get(name, 0) + 1
        common = [name for name, count in counts.items() if support <= count <= len(rows) - support]
        common = sorted(common, key=lambda name: (-counts[name], name))
        places = {name: place for place, name in enumerate(common)}
        has = np.zeros((len(rows), len(common)), dtype=np.float32)
        for at, row in enumerate(rows):
            has[at, [places[name] for name in row if name in places]] = 1.0
        kept = _distinct(common, has)[:MOST_LITERALS]
        return cls(tuple(common[place] for place in kept), has[:, kept])

    def within(self, literals: Iterable[str]) -> Array:
        """Which cases have all of some literals, `(N,)` booleans."""
        places = [self.names.index(name) for name in literals]
        return np.asarray(self.has[:, places].all(1))


def _distinct(names: Sequence[str], has: Array) -> list[int]:
    """One place for each different column, by the name that tells most."""
    found: dict[bytes, int] = {}
    for place, name in enumerate(names):
        key = np.packbits(has[:, place].astype(bool)).tobytes()
        if key not in found or _telling(name) > _telling(names[found[key]]):
            found[key] = place
    return sorted(found.values())


def _telling(name: str) -> tuple[bool, bool, int]:
    """A word tells more than a flag, and that more than the bound of a number; of words, the longest phrase."""
    return "≥" not in name and "≤" not in name, name.startswith("“"), len(name)


def scores(marked: Array, cases: Array, all_marked: float, all_cases: int) -> Array:
    """The hypergeometric z of so many marked in so many cases; −∞ below the least support."""
    p = all_marked / all_cases
    spread = cases * p * (1 - p) * (all_cases - cases) / max(all_cases - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (marked - cases * p) / np.sqrt(spread)
    return np.asarray(np.where((cases >= SUPPORT) & (marked >= SUPPORT) & (spread > 0), z, -np.inf))


class Search:
    """The search over one table: what does not depend on the marks is made once."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._pairs = table.has.T @ table.has
        self._lower = np.tri(len(table.names), dtype=bool)

    def best(self, marks: Array) -> Slice | None:
        """The best slice for marks `(N,)` of 0 and 1; a shorter one where it is nearly as good."""
        found = [level for level in self._levels(marks) if level is not None]
        if not found:
            return None
        most = max(each.score for each in found)
        return next(each for each in found if each.score >= SHORTER * most)

    def highest(self, marks: Array) -> float:
        """The best score for marks."""
        return max((each.score for each in self._levels(marks) if each is not None), default=-np.inf)

    def _levels(self, marks: Array) -> Iterable[Slice | None]:
        n, all_marked = len(marks), float(marks.sum())
        if not self.table.names or not 0 < all_marked < n:
            return
        inside = self.table.has[marks > 0]
        both = inside.T @ inside
        single = scores(both.diagonal(), self._pairs.diagonal(), all_marked, n)
        yield self._slice((int(single.argmax()),), single.max(), both.diagonal(), self._pairs.diagonal())
        upper = scores(both, self._pairs, all_marked, n)
        upper[self._lower] = -np.inf
        flat = upper.ravel()
        order = np.argpartition(flat, -min(BEAM, flat.size))[-BEAM:]
        order = order[np.argsort(-flat[order], kind="stable")]
        beam = [(int(one), int(two)) for one, two in zip(*np.unravel_index(order, upper.shape), strict=True)]
        beam = [pair for pair in beam if np.isfinite(upper[pair])]
        if not beam:
            return
        yield self._slice(beam[0], upper[beam[0]], both, self._pairs)
        yield self._third(beam, inside, all_marked, n)

    def _third(self, beam: Sequence[tuple[int, int]], inside: Array, all_marked: float, n: int) -> Slice | None:
        masks, marked_masks = (
            np.stack([side[:, one] * side[:, two] for one, two in beam]) for side in (self.table.has, inside)
        )
        cases, marked = masks @ self.table.has, marked_masks @ inside
        found = scores(marked, cases, all_marked, n)
        for row, pair in enumerate(beam):
            found[row, list(pair)] = -np.inf
        at, third = map(int, np.unravel_index(int(found.argmax()), found.shape))
        return self._slice((*beam[at], third), found[at, third], marked, cases, (at, third))

    def _slice(
        self, places: tuple[int, ...], score: float, marked: Array, cases: Array, at: tuple[int, ...] | None = None
    ) -> Slice | None:
        if not np.isfinite(score):
            return None
        at = places if at is None else at
        names = tuple(sorted(self.table.names[place] for place in places))
        return Slice(names, int(cases[at]), int(marked[at]), float(score))


def literals_of(values: Mapping[str, object], bounds: Mapping[str, tuple[float, float]]) -> Iterable[str]:
    """What a case has: each flag that is set, each text as `name = value`, a number beyond the bounds of all cases."""
    for name, value in values.items():
        if isinstance(value, bool):
            if value:
                yield name
        elif isinstance(value, str):
            if value:
                yield f"{name} = {value}"
        elif isinstance(value, int | float) and name in bounds:
            low, high = bounds[name]
            if value <= low < high:
                yield f"{name} ≤ {low:g}"
            if value >= high > low:
                yield f"{name} ≥ {high:g}"
