"""Are the served answers those of the trained model: as scores, as classes under other names, or in another unit?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.served_answers import agreement, apart, labels_of
from firstfault.subject.serving import golden_of, served_of
from firstfault.subject.subject import Subject
from firstfault.training.losses import are_distributions

Array = np.ndarray[Any, Any]
ROUNDING = 1e-3  # relative: float32 in another order of sums, layer after layer
ALIKE = 0.98  # the correlation of scores: 8 bits leave 0.9999
RISING = 0.9999  # the rank correlation of a rising function, but for rounding
MOST_CLASSES = 200  # bounds the time of matching them


@memo(of="trained")
def same_answers(subject: Subject) -> bool:
    """Whether the served scores of the golden samples are those of the trained model, but for rounding; called once.

    Labels alone can be equal by luck, and a regression may answer in another unit: `compared` judges those.
    """
    return _same(subject)


def permuted_answers(subject: Subject) -> bool:
    """Whether the served scores of the golden samples are those of the trained model for classes in another order."""
    served = _answers(subject)
    return served is not None and permutation(golden_of(subject).outputs, served) is not None


def _answers(subject: Subject) -> Array | None:
    """The served answers to the golden samples; None where they are refused, which the other checks will say."""
    try:
        return served_of(subject).call(golden_of(subject).raw)  # type: ignore[no-any-return]
    except Exception:
        return None


def _same(subject: Subject) -> bool:
    offline, served = golden_of(subject).outputs, _answers(subject)
    if served is None:
        return False
    known = served.shape == offline.shape and served.dtype.kind in "fiu"
    return known and bool(np.isfinite(served).all()) and apart(offline, served) <= ROUNDING


@check(
    layer=Layer.DEPLOYMENT, needs={served_of, golden_of}, detects={"label_map_mismatch": 0.95, "train_serve_skew": 0.6}
)
def served_answers(subject: Subject, *, same: float = 0.95, alike: float = ALIKE) -> Iterator[Judgement]:
    """Compare the answers to golden samples, where a function serves, with those of the trained model.

    Measures: the share of the samples that get the same answer, 0–1. The function is given raw inputs, as a client
        sends them, or what `deployment.preprocess` makes of them.
    Fails when: the share is below `same`; or scores beyond [0, 1] correlate with the trained model's by less than
        `alike`, even where the classes are the same. Classes that changed places are found by trying permutations, of
        scores and of labels.
    Not a fault when: the classes have other names; a regression answers in another unit; or another check explains the
        difference.
    Source: a choice of ours: a sound path differs by rounding only (8 bits correlate by 0.9999), and ties are rare;
        tests/checks/deployment/test_served_answers.py holds the cases that they separate.
    """
    if served_of(subject).module is not None:
        yield skipped("the parts of the served path are compared one by one")
        return
    served = served_of(subject).call(golden_of(subject).raw)
    if not np.array_equal(served, served_of(subject).call(golden_of(subject).raw)):
        yield skipped("the answers differ from call to call")
        return
    yield compared(subject, same, alike)


def compared(subject: Subject, same: float = 0.95, alike: float = ALIKE) -> Judgement:
    """The judgement of the served answers to the golden samples against those of the trained model."""
    offline, served = golden_of(subject).outputs, served_of(subject).call(golden_of(subject).raw)
    value = agreement(subject, offline, served)
    text = f"{value:.0%} of the golden samples get the answer of the trained model"
    if value >= same and (likeness := score_likeness(offline, served)) < alike:
        text = f"{text}, but the scores correlate with its own by {likeness:.2f} only"
    elif value >= same:
        return passed(text, value=value)
    if _another_unit(subject, offline, served):
        return passed("the served answers rise with those of the trained model: they are in another unit", value=value)
    order = permutation(offline, served)
    if order is not None:
        return _permuted(f"the served classes are permuted: {order}", value, same)
    names = _names(subject, offline, served, same)
    if names is not None and not set(names.values()) <= {str(known) for known in subject.classes}:
        return passed("the served labels are other names for the classes", value=value)
    if names is not None:
        return _permuted(
            "the served classes are permuted: "
            + ", ".join(f"{mine} is served as {theirs}" for mine, theirs in names.items() if mine != theirs),
            value,
            same,
        )
    return Judgement(
        Status.FAIL,
        text,
        value=value,
        threshold=same,
        where=Place.part(served_of(subject).kind),
        faults={"train_serve_skew": 0.6},
        fix="compare the inputs that reach the model with those of training: a served function is given raw inputs",
    )


def score_likeness(offline: Array, served: Array) -> float:
    """The correlation of two tables of scores `(N, K)`, up to what softmax takes away.

    It is 1 for what can't be compared: labels, probabilities.
    """
    if (
        offline.ndim != 2
        or offline.shape != served.shape
        or offline.shape[1] < 2
        or served.dtype.kind != "f"
        or 0 <= served.min() <= served.max() <= 1
    ):
        return 1.0
    mine, theirs = (scores - scores.mean(1, keepdims=True) for scores in (offline.astype(float), served.astype(float)))
    return float((mine * theirs).sum() / max(float(np.sqrt((mine**2).sum() * (theirs**2).sum())), 1e-12))


def _permuted(text: str, value: float, same: float) -> Judgement:
    return Judgement(
        Status.FAIL,
        text,
        value=value,
        threshold=same,
        where=Place.part("output columns"),
        faults={"label_map_mismatch": 0.95},
        fix="save the label map with the model",
    )


def _another_unit(subject: Subject, offline: Array, served: Array, least: int = 8) -> bool:
    """Whether a regression's answers rise with the trained model's: scaled back, or out of the logarithm."""
    if (
        subject.target.task != "regression"
        or offline.size != served.size
        or served.dtype.kind not in "fiu"
        or len(offline) < least
    ):
        return False
    from scipy.stats import spearmanr

    pairs = zip(offline.reshape(len(offline), -1).T, served.reshape(len(offline), -1).T, strict=True)
    return all(
        len(np.unique(mine)) >= least and float(spearmanr(mine, theirs).statistic) > RISING for mine, theirs in pairs
    )


def _names(subject: Subject, offline: Array, served: Array, same: float) -> dict[str, str] | None:
    """By class, the label under which it is served, where every class has one of its own; None else."""
    if (
        subject.target.task != "classification"
        or served.ndim != 1
        or len(served) != len(offline)
        or served.dtype.kind not in "OUSiub"
    ):
        return None
    from scipy.optimize import linear_sum_assignment

    mine, theirs = labels_of(subject, offline), served.astype(str)
    ids, labels = np.unique(mine), np.unique(theirs)
    if not 2 <= len(ids) == len(labels) <= MOST_CLASSES:
        return None
    table = np.array([[np.sum((mine == one) & (theirs == other)) for other in labels] for one in ids])
    rows, columns = linear_sum_assignment(-table)
    if table[rows, columns].sum() < same * len(mine):
        return None
    classes = subject.classes if len(subject.classes) > int(ids.max()) else range(int(ids.max()) + 1)
    return {str(classes[int(ids[row])]): str(labels[column]) for row, column in zip(rows, columns, strict=True)}


def permutation(offline: Array, served: Array, same: float = 0.95) -> list[int] | None:
    """The order in which the columns of the served scores hold the classes, where it is another one and fits."""
    if offline.ndim != 2 or offline.shape != served.shape or not 2 <= offline.shape[1] <= MOST_CLASSES:
        return None
    from scipy.optimize import linear_sum_assignment

    mine, theirs = (_standard(_as_logits(scores)) for scores in (offline, served))
    order = linear_sum_assignment(-(mine.T @ theirs))[1]
    explained = np.mean(offline.argmax(1) == served[:, order].argmax(1)) >= same
    changed = list(order) != list(range(len(order)))
    return [int(value) for value in order] if changed and explained else None


def _as_logits(scores: Array) -> Array:
    """Scores of classes `(N, K)` up to what softmax takes away; probabilities by their logarithm."""
    scores = scores.astype(float)
    if are_distributions(torch.from_numpy(scores)):
        scores = np.log(np.clip(scores, 1e-7, None))
    return scores - scores.mean(1, keepdims=True)  # type: ignore[no-any-return]


def _standard(columns: Array) -> Array:
    centred = columns - columns.mean(0)
    return centred / np.maximum(centred.std(0), 1e-12)  # type: ignore[no-any-return]
