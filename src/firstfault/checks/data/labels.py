"""Labels: their balance, their classes, and whether the inputs have anything to do with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._class_weights import favour
from firstfault.checks.data._classes import Unknown, is_cut_off, lacking, unknown_labels
from firstfault.checks.data._cut_labels import TOLD_AS_CUT, cut_when_read
from firstfault.checks.data._held_out import held_out_probabilities, most_wrong
from firstfault.checks.data._label_numbers import continuous
from firstfault.checks.data._noise_rate import Bound, WrongShare, even_share, wrong_shares
from firstfault.checks.data._out_of_fold import FEWEST_ROWS, label_pairs, out_of_fold
from firstfault.checks.data._reference_splits import split_by
from firstfault.checks.data.suspects import TABLE, suspect_files
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

AS_GOOD = 0.05  # of accuracy: the network learns from as many rows as fast models, and is held to fewer
AS_SURE = 0.05  # of probability: rows that are prepared alike are answered less surely where they were not learnt
DIRECTION_GAINS = 20.0  # what directed noise, with a weight per class, must gain over even noise


@check(layer=Layer.DATA, needs={"raw"}, detects={"class_imbalance": 0.7})
def class_imbalance(
    subject: Subject, *, entropy: float = 0.5, ratio: float = 10.0, favoured: float = 2.0
) -> Iterator[Judgement]:
    """Find one class that drowns the rest.

    Measures: the entropy of the training labels over that of even classes, 0–1.
    Fails when: it is below `entropy`, and the largest class has more than `ratio` times the rows of the smallest. A
        swap (balanced training, judged by balanced accuracy, or by AUC where that is the metric) has to confirm it.
    Not a fault when: the training favours rare rows: with even outputs the loss pulls `favoured` times as hard at a row
        of the rarest class as at one of the commonest, or the loader draws it as much more often.
    Source: Amazon SageMaker Debugger, ClassImbalance (a ratio of 10); the bounds on entropy and favour are a choice of
        ours, and tests/checks/data/test_rows_labels_drift.py holds the cases that they separate.
    """
    if subject.target.task != "classification":
        yield skipped("the task has no classes")
        return
    counts = pd.Series(to_array(subject.raw.train.y).reshape(len(subject.raw.train.y), -1)[:, 0]).value_counts()
    if len(counts) < 2:
        yield skipped("there is one class only")
        return
    if cut_when_read(subject)[0]:
        yield skipped(TOLD_AS_CUT)
        return
    share = counts / counts.sum()
    value = float(-(share * np.log(share)).sum() / np.log(len(share)))
    lopsided = float(counts.max() / counts.min())
    bad = value < entropy and lopsided > ratio and favour(subject) < favoured
    yield Judgement(
        Status.FAIL if bad else Status.PASS,
        f"the largest class has {lopsided:.1f} times the samples of the smallest, normalised entropy {value:.2f}",
        value=value,
        threshold=entropy,
        where=Place.labels("train"),
        fix="weight the loss by class, or resample train" if bad else None,
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"missing_class": 0.95, "unseen_category": 0.95})
def missing_class(subject: Subject, *, chance: float = 1e-6) -> Iterator[Judgement]:
    """Find classes that train lacks, or a train of one class.

    Measures: the number of classes of validation or test that train lacks.
    Fails when: there is one, or train has one class only; or a declared split lacks a class of train that a random one
        would miss by a chance below `chance`. Classes that train only writes otherwise, with other case, blanks or
        punctuation around them, are `unseen_category`.
    Warns when: it lacks one, and is split by a declared time or group.
    Not a fault when: the split was cut from sorted rows, which `rows_in_order` and `label_drift` tell.
    Source: a class without a training row can't be learnt, so that no bound is needed; UCI Adult, whose published test
        file ends every label with a dot. tests/checks/data/test_rows_labels_drift.py holds the cases.
    """
    if subject.target.task != "classification" or to_array(subject.raw.train.y).ndim != 1:
        yield skipped("the task has no single class label")
        return
    if continuous(to_array(subject.raw.train.y)):
        yield skipped("the labels are amounts, and no classes")
        return
    known = set(pd.unique(pd.Series(to_array(subject.raw.train.y)).dropna()))
    if len(known) < 2 and cut_when_read(subject)[0]:
        yield skipped(TOLD_AS_CUT)
        return
    if len(known) < 2:
        only = next(iter(known), "none")
        yield Judgement(
            Status.FAIL,
            f"train has one class only: {only}",
            value=1,
            threshold=2,
            where=Place.labels("train"),
            faults={"missing_class": 0.95},
            fix="collect the other classes, or look at the query and the split",
        )
        return
    unknown = {name: unknown_labels(subject, split) for name, split in subject.raw.items() if name != "train"}
    respelt = {name: found for name, found in unknown.items() if found.meant}
    if respelt:
        yield _respelt(respelt)
    if new := {label for found in unknown.values() for label in found.new}:
        names = ", ".join(sorted(map(str, new))[:5])
        yield Judgement(
            Status.FAIL,
            f"{len(new)} classes occur in validation or test, but not in train: {names}",
            value=len(new),
            threshold=0,
            where=Place.labels("train"),
            faults={"missing_class": 0.95},
            fix="split at random, stratified by label",
        )
        return
    less = list(_with_less(subject, chance))
    yield from less
    if not respelt and not less:
        yield passed(f"train has all {len(known)} classes")


def _with_less(subject: Subject, chance: float) -> Iterator[Judgement]:
    """The findings for declared splits without a class of train."""
    for name in subject.data.declared_splits:
        split = getattr(subject.raw, name)
        lacks = lacking(subject, split, chance)
        if not lacks or is_cut_off(subject, name):
            continue
        meant = split_by(subject, split)
        yield Judgement(
            Status.WARN if meant else Status.FAIL,
            f"{name} lacks {len(lacks)} classes of train: {', '.join(sorted(map(str, lacks))[:5])}"
            + (f"; the split is by {meant}, so that this may be meant" if meant else ""),
            value=len(lacks),
            threshold=0,
            where=Place.labels(name),
            faults={} if meant else {"missing_class": 0.95},
            fix=f"collect rows of these classes for {name}, or split at random, stratified by label",
        )


def _respelt(found: dict[str, Unknown]) -> Judgement:
    """The finding for labels of a split that are training labels written otherwise."""
    name = max(found, key=lambda split: found[split].meant_rows)
    unknown = found[name]
    pairs = ", ".join(f"{label!r} for {known!r}" for label, known in list(unknown.meant.items())[:3])
    return Judgement(
        Status.FAIL,
        f"{unknown.meant_rows} of {unknown.rows} labels of {name} equal no training label, and are one written "
        f"otherwise: {pairs}",
        value=unknown.meant_rows,
        threshold=0,
        where=Place.labels(name),
        faults={"unseen_category": 0.95},
        fix=f"write the labels of {name} as those of train, without other dots, case or blanks",
    )


@check(layer=Layer.DATA, needs={"raw"}, detects={"label_noise": 0.75})
def labels_against_inputs(
    subject: Subject,
    *,
    share: float = 0.03,
    evidence: float = 12.0,
    directed: float = 0.04,
    directed_evidence: float = 40.0,
    errors: float = 0.08,
    evenness: float = 0.55,
    fewest: int = 4,
    much: float = 0.15,
    much_evidence: float = 8.0,
) -> Iterator[Judgement]:
    """Find a share of training labels that their inputs cannot explain.

    Measures: the estimated share of wrong labels. Two fast models answer at most 3,000 training rows that they were not
        fitted on. On hard but clean data they err less the surer they are; wrong labels are spread evenly, so that an
        error rate remains. The share is that of a mixture, by maximum likelihood, of the models' recalibrated
        probabilities and labels drawn without regard to the inputs. The finding lists the suspect rows.
    Fails when: even noise is above `share` and gains more than `evidence` (twice the log-likelihood) over none, or is
        above `much` and gains more than `much_evidence`, by the fast models or, where these err on so many rows or
        can't answer, by the trained network's answers to validation and test, if it is as good as they; or noise with a
        direction (one class taken for another) is above `directed` and gains more than `directed_evidence`; or the
        surest fifth errs on at least `fewest` rows, at a rate above `errors` and above `evenness` of that of all rows.
        Of several labels, the even noise of all pairs of a row and a label must gain more than `directed_evidence`. The
        last bound rises as the models' skill (0 for a constant answer, 1 for a perfect one) falls below one half. A
        rule whose outcome is a coin's by nature, the same for all its rows, is not told from noise.
    Not a fault when: validation rows are drawn from the same rows, and the trained network errs on less than half as
        many of them: it sees what fast models don't, such as shapes at any place. Models that are no better than a
        constant answer don't judge: `random_labels` asks whether they know anything. What is answered wrong is next to
        the given one of at least four numbers, as of grades: errors of the surest rows don't count. Nor does a network
        that is surer of rows that it has not seen than of those that it has: they were prepared otherwise.
    Source: confident learning (Northcutt et al. 2021). Bounds chosen on 141 real tables (KEEL, UCI, scikit-learn) and
        47 made ones, as they are and with 5–20 % of their labels changed; then none of 60 other clean sets failed.
        benchmarks/data_defects.py changes 5 % of the labels, benchmarks/localise.py a third.
    """
    found, strong = out_of_fold(subject), Bound(much, much_evidence)
    if found is None:
        yield (
            _in_pairs(subject, Bound(share, directed_evidence))
            or _by_network(subject, 0.0, strong)
            or skipped(f"only classes and table-like inputs of at least {FEWEST_ROWS} rows are looked at")
        )
        return
    y, wrong = found.y, found.wrong
    prior, accuracy = float(np.bincount(y).max() / len(y)), float(1 - wrong.mean())
    error = 2 * float(np.sqrt(prior * (1 - prior) / len(y)))
    even, one_way = wrong_shares(found)
    if accuracy <= prior + error and not strong.passed_by(even):
        yield _by_network(subject, accuracy, strong) or skipped(
            f"fast models are right for {accuracy:.0%}, a constant answer for {prior:.0%}: "
            "too little to tell wrong labels by"
        )
        return
    surest = wrong[np.argsort(-found.probabilities.max(1))[: max(20, len(y) // 5)]]
    bound = evenness + 1.5 * max(0.0, 0.5 - (accuracy - prior) / max(1 - prior, 1e-9))
    flat = surest.mean() > errors and surest.sum() >= fewest and surest.mean() > bound * wrong.mean()
    flat = flat and not found.graded
    value = _estimate(
        even if Bound(share, evidence).passed_by(even) or strong.passed_by(even) else None,
        one_way if one_way.share > directed and one_way.evidence > directed_evidence else None,
        float(surest.mean()) if flat else 0.0,
    )
    hard = (
        f"out-of-fold predictions disagree with {wrong.mean():.1%} of {len(y):,} labels, "
        f"the surest fifth with {surest.mean():.1%}"
    )
    if not value:
        yield _by_network(subject, accuracy, strong) or Judgement(
            Status.PASS, f"{hard}, as hard rows explain", value=0.0, threshold=share, where=Place.labels("train")
        )
        return
    if subject.data.validation is None and (wrongest := most_wrong(subject)) < 0.5 * value:
        yield passed(
            f"{hard}, but the trained network errs on less than {wrongest:.1%} of the validation rows, "
            "which as many wrong labels would not allow",
            value=wrongest,
        )
        return
    yield _wrong(subject, value, share, hard)


def _in_pairs(subject: Subject, bound: Bound) -> Judgement | None:
    """The finding for several labels, by even noise alone; None where it tells none."""
    pairs = label_pairs(subject)
    if pairs is None or not bound.passed_by(found := even_share([pairs.linear, pairs.trees], pairs.y)):
        return None
    held = held_out_probabilities(subject)
    if held is not None and 1 - held.accuracy < 0.5 * found.share:  # it sees what fast models don't
        return None
    why = f"out-of-fold predictions disagree with {pairs.wrong.mean():.1%} of {len(pairs.y):,} pairs of row and label"
    return _wrong(subject, found.share, bound.share, why)


def _wrong(subject: Subject, value: float, threshold: float, why: str) -> Judgement:
    """The finding for a share of wrong labels."""
    rows, files = len(to_array(subject.raw.train.y)), suspect_files(subject)
    review = f"review the rows listed in {TABLE}" if files else "review the rows that other rows contradict"
    return Judgement(
        Status.FAIL,
        f"about {value:.1%} of the labels look wrong, {round(value * rows):,} of {rows:,} training rows: {why}",
        value=value,
        threshold=threshold,
        where=Place.labels("train"),
        faults={"label_noise": 0.75},
        fix=f"{review}, and correct their labels",
        artifacts=files,
    )


def _by_network(subject: Subject, accuracy: float, bound: Bound) -> Judgement | None:
    """The finding by what the trained network answers to rows that it has not seen; None where it tells none.

    `accuracy` is that of fast models.
    """
    if 1 - accuracy < bound.share or (held := held_out_probabilities(subject)) is None:
        return None
    prior, rows = float(np.bincount(held.y).max() / len(held.y)), len(held.y)
    learnt = held.accuracy > prior + 2 * float(np.sqrt(prior * (1 - prior) / rows))
    knows = learnt and held.accuracy > accuracy - AS_GOOD
    if not knows or 1 - held.accuracy < bound.share or held.surer > AS_SURE:
        return None
    found = even_share([held.values], held.y)
    why = f"the network disagrees with {1 - held.accuracy:.1%} of {rows:,} labels that it has not seen, however sure"
    return _wrong(subject, found.share, bound.share, why) if bound.passed_by(found) else None


def _estimate(even: WrongShare | None, one_way: WrongShare | None, among_surest: float) -> float:
    """The share of wrong labels by the explanation that stands: with a direction only where that explains much more."""
    if one_way is not None and (even is None or one_way.evidence > even.evidence + DIRECTION_GAINS):
        return one_way.share
    return even.share if even is not None else among_surest
