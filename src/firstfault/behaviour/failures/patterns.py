"""Failure patterns: failures of one first bad cut, scorer and symptom that lie in one slice, named by what it has.

In each group the best slice is taken, named, and its failures are set aside, as long as it is better than any that
shuffled failures give. What is left is grouped by what the prompts are about (their embedding); such a group is a
pattern where a slice names it, and, beside passing cases, where it fails more often than they do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from firstfault.behaviour.failures.features import prompt_features, words_of
from firstfault.behaviour.failures.slices import SUPPORT, Search, Slice, Table, literals_of
from firstfault.metrics import Array
from firstfault.values import is_number

SHUFFLES = 99
"""Of the failures among the cases: as many as a p-value of .01 takes."""
RISK = 0.01
"""Of a false pattern in all that is looked at: 20 suites have one in five by chance, not one each."""
MOST = 20
"""Patterns that are told."""
PURE = 0.8
"""Of a group of like prompts, what its slice has to hold, and to hold of no others, to be its name."""
QUARTER = (0.1, 0.9)
"""Quantiles of all cases from which on a number is high or low."""
TOPICS = 32
"""Dimensions of the texts' embedding, by singular values of their word weights."""


@dataclass(frozen=True)
class Looked:
    """A case as patterns see it: its prompt, whether it failed, how, and what else is known of it by name."""

    id: str
    prompt: str
    failed: bool
    cut: str = ""
    scorer: str = ""
    symptom: str = ""
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def group(self) -> tuple[str, str, str]:
        """What failures are grouped by first."""
        return self.cut, self.scorer, self.symptom


@dataclass(frozen=True)
class Pattern:
    """Failures that have something in common, by their ids; `p` is the share of shuffles with as good a slice."""

    name: str
    cut: str
    scorer: str
    symptom: str
    cases: tuple[str, ...]
    of: int
    p: float
    by: str = "slice"

    def __str__(self) -> str:
        how = ", ".join(each for each in (self.cut and f"first at {self.cut}", self.symptom) if each)
        return f"{self.name}: {len(self.cases)} of {self.of} such cases fail ({how or self.scorer}), p {self.p:.2g}"

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {name: getattr(self, name) for name in ("name", "cut", "scorer", "symptom", "of", "p", "by")} | {
            "cases": list(self.cases)
        }


def failure_patterns(looked: Sequence[Looked]) -> list[Pattern]:
    """The patterns of failures among some cases, the largest first; passing cases beside them tell more."""
    groups = Counter(each.group for each in looked if each.failed)
    large = [group for group, count in groups.items() if count >= SUPPORT]
    if not large:
        return []
    search = Search(Table.of(_literals(looked)))
    found = _by_slices(looked, large, search, np.random.default_rng(0))
    taken = {id_ for pattern in found for id_ in pattern.cases}
    found += _by_topic([each for each in looked if each.id not in taken], large)
    return sorted(found, key=lambda pattern: -len(pattern.cases))[:MOST]


def _literals(looked: Sequence[Looked]) -> list[set[str]]:
    values = [{**prompt_features(each.prompt), **each.more} for each in looked]
    numbers: dict[str, list[float]] = defaultdict(list)
    for row in values:
        for name, value in row.items():
            if is_number(value):
                numbers[name].append(value)
    bounds = {name: (float(low), float(high)) for name, each in numbers.items() for low, high in [_quantiles(each)]}
    return [{*literals_of(row, bounds), *_words(each.prompt)} for row, each in zip(values, looked, strict=True)]


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, QUARTER)
    return low, high


def _words(prompt: str) -> set[str]:
    words = words_of(prompt)
    return {f"“{word}”" for word in words} | {f"“{one} {two}”" for one, two in zip(words, words[1:], strict=False)}


def _by_slices(
    looked: Sequence[Looked], groups: Sequence[tuple[str, str, str]], search: Search, draw: np.random.Generator
) -> list[Pattern]:
    """One slice after the other, as long as none of the shuffled marks has as good a one."""
    marks = np.array([[each.failed and each.group == group for each in looked] for group in groups], dtype=np.float32)
    found: list[Pattern] = []
    while len(found) < MOST:
        best = [(search.best(row), place) for place, row in enumerate(marks)]
        known = [(each, place) for each, place in best if each is not None]
        if not known:
            break
        slice_, place = max(known, key=lambda each: each[0].score)
        p = _p_value(slice_, marks, search, draw)
        if p > RISK:
            break
        inside = search.table.within(slice_.literals) & (marks[place] > 0)
        found.append(_pattern(slice_, looked, inside, groups[place], p))
        marks[place, inside] = 0.0
    return found


def _p_value(slice_: Slice, marks: Array, search: Search, draw: np.random.Generator) -> float:
    """The share of shuffles, itself among them, whose best slice is as good; ends where it can't be small any more."""
    as_good, most = 1, RISK * (SHUFFLES + 1)
    for _ in range(SHUFFLES):
        order = draw.permutation(marks.shape[1])
        as_good += any(search.highest(row[order]) >= slice_.score for row in marks if row.sum() >= SUPPORT)
        if as_good > most:
            return 1.0
    return as_good / (SHUFFLES + 1)


def _pattern(slice_: Slice, looked: Sequence[Looked], inside: Array, group: tuple[str, str, str], p: float) -> Pattern:
    ids = tuple(looked[at].id for at in np.flatnonzero(inside))
    return Pattern(" and ".join(slice_.literals), *group, ids, slice_.cases, p)


def topics(texts: Sequence[str]) -> Array:
    """What texts are about, `(N, D)`: singular vectors of their word weights, of length 1."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    try:
        weights = TfidfVectorizer(tokenizer=words_of, token_pattern=None, lowercase=False, min_df=2).fit_transform(
            texts
        )
    except ValueError:  # they share no word
        return np.zeros((len(texts), 1))
    width = min(TOPICS, weights.shape[1] - 1, len(texts) - 1)
    return np.asarray(
        normalize(TruncatedSVD(width, random_state=0).fit_transform(weights)) if width > 0 else weights.todense()
    )


def _by_topic(looked: Sequence[Looked], groups: Sequence[tuple[str, str, str]]) -> list[Pattern]:
    """Groups of like prompts among the failures that no slice holds."""
    found = []
    for group in groups:
        failed = [each for each in looked if each.failed and each.group == group]
        if len(failed) < 2 * SUPPORT:
            continue
        from sklearn.cluster import HDBSCAN

        clusters = HDBSCAN(min_cluster_size=SUPPORT, copy=True).fit_predict(topics([each.prompt for each in failed]))
        passing = [each for each in looked if not each.failed]
        for cluster in range(clusters.max() + 1):
            pattern = _named(failed, clusters == cluster, passing, group)
            found += [pattern] if pattern is not None else []
    return found


def _named(
    failed: Sequence[Looked], inside: Array, passing: Sequence[Looked], group: tuple[str, str, str]
) -> Pattern | None:
    """A group of like failures by the slice that holds it; None where none does, or it does not fail more often."""
    every = [*failed, *passing]
    table = Table.of(_literals(every))
    slice_ = Search(Table(table.names, table.has[: len(failed)])).best(inside.astype(np.float32))
    if slice_ is None or slice_.share < PURE or slice_.marked < PURE * inside.sum():
        return None
    within = table.within(slice_.literals)
    p = 0.0
    if passing:
        p = _more_often(int(within[: len(failed)].sum()), int(within.sum()), len(failed), len(every), len(table.names))
        if p > RISK:
            return None
    ids = tuple(each.id for each, held in zip(failed, within, strict=False) if held)
    return Pattern(" and ".join(slice_.literals), *group, ids, int(within.sum()), p, "topic")


def _more_often(failed: int, cases: int, all_failed: int, all_cases: int, tried: int) -> float:
    """The exact p-value of so many failures in a slice, for all literals that could have been its name."""
    from scipy.stats import hypergeom

    return min(float(hypergeom.sf(failed - 1, all_cases, all_failed, cases)) * max(tried, 1), 1.0)
