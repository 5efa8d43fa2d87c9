"""A classifier that tells train from the reference or another split: drift that no single column shows."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.check import Depth, Judgement, check, skipped
from firstfault.checks.data._distances import as_numbers, column_distance, is_number
from firstfault.checks.data._reference_splits import Compared, compared, others
from firstfault.checks.data._sample_features import condensed
from firstfault.finding import Layer, Status
from firstfault.output.spreadsheets import write_frame
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

TABLE = "domain_columns.csv"
MOST_ROWS, FEWEST_ROWS = 3_000, 50  # of each side: with 3,000 the AUC errs by 0.007, with 50 by 0.06
MOST_COLUMNS, MOST_CATEGORIES, HASHED = 300, 60, 64  # bound the time of a fit
FOLDS = 4  # three quarters of the rows tell the sides apart, and each fold costs a fit
SHOWN = 3  # columns of a place; a message names one fewer
ALONE = 0.12  # a column moved on its own: as in `covariate_drift`
TELLING = 0.2  # of the best column's worth: columns worth less are not named


class Held(NamedTuple):
    """A model, rows that it was not fitted on (`inputs` `(N, D)`, and whether of train), and its AUC on them."""

    model: Any
    inputs: Array
    is_train: Array
    auc: float


class Parted(NamedTuple):
    """How well a model parts train from the rest: the mean AUC over the folds and its standard error."""

    auc: float
    error: float
    folds: list[Held]
    owners: Mapping[str, list[int]]

    def least(self, deviations: float) -> float:
        """What the AUC exceeds nearly for certain: by so many standard errors."""
        return self.auc - deviations * self.error


@check(layer=Layer.DATA, needs={"raw"}, detects={"covariate_drift": 0.9}, depth=Depth.STANDARD)
def domain_classifier(
    subject: Subject, *, drifted: float = 0.62, suspicious: float = 0.55, deviations: float = 3.0
) -> Iterator[Judgement]:
    """Find drift of columns together: a model that can tell train from the reference or from a declared split.

    Measures: the AUC of gradient-boosted trees over all columns, on at most 3,000 rows of each side that they were not
        fitted on (4 folds, equal rows in the same one). Of images the model sees simple features and a picture of 8 ×
        8, of prose features and hashed words. Missing values are drawn from the known ones.
    Fails when: the AUC is above `drifted` by `deviations` standard errors (DeLong).
    Warns when: it is above `suspicious` by as much, or above `drifted` where the split is by a declared time or group.
    Not a fault when: only times, declared groups or identifiers differ: they are left out. Where the labels moved, both
        sides are drawn with equal shares of the classes.
    Source: Lopez-Paz & Oquab 2017, classifier two-sample tests; Rabanser et al. 2019, Failing Loudly. The bounds are a
        choice of ours; tests/checks/data/test_domain.py holds the cases that they separate.
    """
    against = others(subject)
    if not against:
        yield skipped("there is no reference, and firstfault drew the splits itself")
        return
    seen = []
    for name, other in against.items():
        beside = compared(subject, name, other, MOST_ROWS)
        found = _parted(beside, subject.raw.train.X, other.X)
        if found is not None:
            seen.append((beside, found))
    if not seen:
        yield skipped(f"a classifier takes at least {FEWEST_ROWS} rows of each side, and a column that both have")
        return
    bounds = [(found.least(deviations), beside, found) for beside, found in seen]
    least, beside, found = max(bounds, key=lambda entry: (entry[0] > drifted and not entry[1].meant, entry[0]))
    if least <= suspicious:
        names = ", ".join(beside.name for beside, _ in seen)
        yield Judgement(
            Status.PASS,
            f"a classifier can't tell train from {names} (AUC {found.auc:.2f})",
            value=found.auc,
            threshold=drifted,
        )
        return
    yield _judged(subject, beside, found, drifted, least > drifted and not beside.meant)


def _judged(subject: Subject, beside: Compared, found: Parted, drifted: float, fails: bool) -> Judgement:
    from firstfault.checks.data._drift_pictures import draw_joint

    worth = _worth(found)
    names = sorted(worth, key=lambda name: -worth[name])
    lost = [round(worth[name], 4) for name in names]
    write_frame(subject.folder / TABLE, pd.DataFrame({"column": names, "AUC lost without it": lost}))
    telling = [name for name in names if worth[name] >= TELLING * worth[names[0]]]
    moved = _moved_alone(beside)
    alone = "" if moved else ", though no column moved on its own"
    meant = f"; the split is by {beside.meant}, so that this may be meant" if beside.meant else ""
    return Judgement(
        Status.FAIL if fails else Status.WARN,
        f"a classifier tells train from {beside.name} with an AUC of {found.auc:.2f}, mostly by "
        f"{' and '.join(telling[: SHOWN - 1])}{alone}{meant}",
        value=found.auc,
        threshold=drifted,
        where=Place.columns(*telling[:SHOWN]),
        fix="compare these columns together before and after, and find out what changed in the source",
        artifacts=(TABLE, *draw_joint(subject.folder, beside, telling if moved else names)),
    )


def _moved_alone(beside: Compared) -> bool:
    found = [column_distance(*pair) for pair in beside.columns.values()]
    return any(apart > ALONE and p * len(found) < 1e-3 for apart, p in found)


def _parted(beside: Compared, a: Any, b: Any) -> Parted | None:
    inputs = _inputs(beside, a, b)
    if inputs is None:
        return None
    columns, is_train = inputs
    if min(is_train.sum(), (~is_train).sum()) < FEWEST_ROWS or not columns:
        return None
    return _cross_validated(np.column_stack(list(columns.values())), is_train, _owners(columns))


def _owners(columns: Mapping[str, Array]) -> dict[str, list[int]]:
    """The places of a column's numbers among the inputs; all pixels belong together, and so do the words of a text."""
    owners: dict[str, list[int]] = {}
    for place, name in enumerate(columns):
        owners.setdefault(name.partition("\t")[0], []).append(place)
    return owners


def _inputs(beside: Compared, a: Any, b: Any) -> tuple[dict[str, Array], Array] | None:
    """The sampled rows of both sides as numbers by column, and which of them `(N,)` are of train."""
    one, two = (pd.DataFrame({name: pair[side] for name, pair in beside.columns.items()}) for side in (0, 1))
    count = min(len(one), len(two))
    if not count:
        return None
    rng = np.random.default_rng(0)
    one, two = (frame.iloc[np.sort(rng.permutation(len(frame))[: max(count, FEWEST_ROWS)])] for frame in (one, two))
    is_train = np.repeat([True, False], [len(one), len(two)])
    columns = {}
    for name in list(beside.columns)[:MOST_COLUMNS]:
        values = _as_inputs(one[name], two[name], rng)
        if values is not None:
            columns[name] = values
    for name, values in _further(beside, a, b, one.index.to_numpy(), two.index.to_numpy()).items():
        columns |= {f"{name}\t{place}": column for place, column in enumerate(values.T)}
    return columns, is_train


def _further(beside: Compared, a: Any, b: Any, first: Array, second: Array) -> dict[str, Array]:
    """Pixels of images, projections of wide rows, hashed words of prose: numbers that are no columns, by their name."""
    found = {
        f"the words of {'a text' if name == '0' else name}": _hashed(pair.train.loc[first], pair.other.loc[second])
        for name, pair in beside.texts.items()
    }
    if not isinstance(a, pd.DataFrame) and any(name.endswith(" of a sample") for name in beside.columns):
        one, two = condensed(a, first), condensed(b, second)
        if one is not None and two is not None and one.shape[1] == two.shape[1]:
            found["the rough picture of a sample"] = np.concatenate([one, two])
    return found


def _hashed(one: pd.Series, two: pd.Series) -> Array:
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = [*as_text(one.fillna("")), *as_text(two.fillna(""))]
    return np.asarray(HashingVectorizer(n_features=HASHED, alternate_sign=False).transform(texts).toarray())


def _as_inputs(one: pd.Series, two: pd.Series, rng: np.random.Generator) -> Array | None:
    """A column of both sides as numbers `(N,)`, a category as the rank of its frequency; None for what is neither."""
    both = pd.concat([one.astype(object), two.astype(object)], ignore_index=True)
    known = both.notna().to_numpy()
    if not one.notna().any() or not two.notna().any():
        return None
    if is_number(one) or is_number(two):
        if any(as_numbers(side.dropna()) is None for side in (one, two)):
            return None
        values = pd.to_numeric(both, errors="coerce").to_numpy(dtype=float)
    else:
        texts = as_text(both[known])
        if texts.nunique() > 0.2 * known.sum():
            return None
        ranks = {value: rank for rank, value in enumerate(texts.value_counts().index)}
        values = as_text(both).map(ranks).clip(upper=MOST_CATEGORIES).to_numpy(dtype=float)
        values[~known] = np.nan
    usable = np.isfinite(values)
    values[~usable] = rng.choice(values[usable], (~usable).sum()) if usable.any() else 0.0
    return values


def _cross_validated(inputs: Array, is_train: Array, owners: Mapping[str, list[int]]) -> Parted | None:
    folds = _folds(inputs)
    held, variances = [], []
    for fold in range(FOLDS):
        inside = folds == fold
        if min(_fewest(is_train[inside]), _fewest(is_train[~inside])) < FEWEST_ROWS // (2 * FOLDS):
            return None
        model = _fitted(inputs[~inside], is_train[~inside])
        area, variance = _area(_scores(model, inputs[inside]), is_train[inside])
        held.append(Held(model, inputs[inside], is_train[inside], area))
        variances.append(variance)
    return Parted(float(np.mean([part.auc for part in held])), float(np.sqrt(np.sum(variances)) / FOLDS), held, owners)


def _fitted(inputs: Array, is_train: Array) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=40,
        learning_rate=0.15,
        max_leaf_nodes=15,
        max_bins=64,
        min_samples_leaf=min(20, max(5, len(inputs) // 20)),
        early_stopping=False,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(inputs, is_train)


def _scores(model: Any, inputs: Array) -> Array:
    return np.asarray(model.predict_proba(inputs)[:, 1])


def _worth(found: Parted) -> dict[str, float]:
    """The AUC that is lost, on average over the folds, when a column is shuffled."""
    rng, lost = np.random.default_rng(1), defaultdict[str, list[float]](list)
    for part in found.folds:
        for name, places in found.owners.items():
            lost[name].append(
                part.auc - _area(_scores(part.model, _shuffled(part.inputs, places, rng)), part.is_train)[0]
            )
    return {name: float(np.mean(values)) for name, values in lost.items()}


def _folds(inputs: Array) -> Array:
    """A fold for each row `(N,)`, the same for equal rows: a copy of a row that was learned tells nothing."""
    rows = [row.tobytes() for row in np.ascontiguousarray(inputs)]
    codes, values = pd.factorize(np.array(rows, dtype=object))
    return np.asarray((np.random.default_rng(0).permutation(len(values)) % FOLDS)[codes])


def _fewest(is_train: Array) -> int:
    return int(min(is_train.sum(), (~is_train).sum()))


def _area(scores: Array, is_train: Array) -> tuple[float, float]:
    """The area under the ROC curve and its variance (DeLong et al. 1988)."""
    from scipy.stats import rankdata

    ours, theirs = scores[is_train], scores[~is_train]
    ranks = rankdata(np.concatenate([ours, theirs]))
    above = (ranks[: len(ours)] - rankdata(ours)) / len(theirs)
    below = 1 - (ranks[len(ours) :] - rankdata(theirs)) / len(ours)
    return float(above.mean()), float(above.var(ddof=1) / len(ours) + below.var(ddof=1) / len(theirs))


def _shuffled(inputs: Array, places: list[int], rng: np.random.Generator) -> Array:
    changed = inputs.copy()
    changed[:, places] = changed[rng.permutation(len(changed))][:, places]
    return changed
