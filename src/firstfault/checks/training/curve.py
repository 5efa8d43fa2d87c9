"""What the learning curve and the steps behind it tell: a training that breaks, stalls, or ends too early."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.baseline import Baselines, baselines
from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.probe.birthplace import SET_BY_HAND

BIRTHPLACES = {
    "input": {"missing_values": 0.9, "nonfinite_loss": 0.95},
    "weight": {"learning_rate_too_high": 0.6, "nonfinite_loss": 0.6},
}


@check(layer=Layer.TRAINING, needs={"record"}, detects={"nonfinite_loss": 0.6})
def nonfinite_loss(subject: Any) -> Iterator[Judgement]:
    """Find NaN or infinity in a training, and name the tensor that was the first to hold one.

    Source: Amazon SageMaker Debugger, TensorVariance and ExplodingTensor; FAULTS of this project on birthplaces.
    """
    record = subject.record
    if record.first_nonfinite is None:
        yield passed(f"loss, gradients and weights stayed finite over {record.steps} steps")
        return
    step, kind, place = record.first_nonfinite
    yield Judgement(
        Status.FAIL, f"the first non-finite tensor is {place} ({kind}), at step {step}", value=step, threshold=record.steps,
        where=place, faults=_suspects_of_birth(record), fix="repair what makes the first non-finite tensor, not the loss",
    )


def _suspects_of_birth(record: Any) -> dict[str, float]:
    """What the place of a birth, and the steps before it, are evidence for."""
    step, kind, place = record.first_nonfinite
    if SET_BY_HAND in place:
        return {"nonfinite_loss": 0.95}
    if kind in ("input", "weight"):
        return BIRTHPLACES[kind]
    if step > 1 and _strode(record, step):
        return {"learning_rate_too_high": 0.6, "nonfinite_loss": 0.6, "numerically_unstable": 0.3}
    in_model = kind != "loss" and "the loss" not in place
    return {"numerically_unstable": 0.6 if in_model else 0.4, "nonfinite_loss": 0.95}


def _strode(record: Any, step: int) -> bool:
    """Whether the steps before this one were far too large, or the loss leapt above its start."""
    ratios = [value for at, value in zip(record.update_ratio.steps, record.update_ratio.values, strict=True) if at < step]
    losses = [value for at, value in zip(record.loss.steps, record.loss.values, strict=True) if at < step and math.isfinite(value)]
    leapt = bool(losses) and max(losses) > 3 * abs(losses[0]) + 1e-9
    return leapt or (bool(ratios) and (max(ratios) > 0.5 or float(np.median(ratios)) > 0.1))


@dataclass(frozen=True)
class Signs:
    """What a record shows of one training, as a few numbers."""

    ratio: float
    ratio_first: float
    drop: float
    slope_share: float
    worst: float
    decayed: float

    @property
    def too_small(self) -> bool:
        """Whether the steps are far smaller than those of healthy trainings."""
        return self.ratio < 3e-4

    @property
    def too_large(self) -> bool:
        """Whether the steps are far larger than those of healthy trainings, or the loss leapt above its start."""
        return self.ratio > 1e-1 or self.ratio_first > 0.5 or self.worst > 3.0


def signs(record: Any) -> Signs:
    """Read the signs from a record with at least 4 steps.

    ratio: median update ratio, ratio_first: the largest of the first 5; drop: relative fall of the loss from the first tenth to the last;
    slope_share: share of that fall that the last quarter still made; worst: highest smoothed loss over the
    initial; decayed: last learning rate over the highest.
    """
    loss = np.asarray(record.loss, float)
    width = max(1, len(loss) // 10)
    smooth = np.convolve(loss, np.ones(width) / width, "valid")
    start, end = abs(smooth[0]) + 1e-12, smooth[-1]
    quarter = smooth[int(len(smooth) * 0.75)]
    fall = smooth[0] - end
    ratios = np.asarray(record.update_ratio, float)
    rates = np.asarray(record.lr, float)
    return Signs(
        ratio=float(np.nanmedian(ratios)) if len(ratios) else math.nan,
        ratio_first=float(np.nanmax(ratios[:5])) if len(ratios) else math.nan,
        drop=float(fall / start),
        slope_share=float((quarter - end) / fall) if fall > 1e-9 else 0.0,
        worst=float(np.nanmax(smooth) / start),
        decayed=float(rates[-1] / max(rates.max(), 1e-30)),
    )


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"learning_rate_too_high": 0.5})
def underperforms(subject: Any, *, behind: float = 0.05, behind_in_fit: float = 0.15, errors: float = 3.0) -> Iterator[Judgement]:
    """Find a trained model that is worse than a simple model on the same prepared data, and say what the run suggests.

    The validation metric is compared with the best of a constant answer and a simple model. A gap counts beyond
    `behind` and `errors` standard errors of the metric; where only a constant answer can be tried, the model has to
    beat it by as much. The user's own loop can't be varied to confirm a suspicion, so there the gap must exceed `behind_in_fit`. The steps of the run then tell the likely causes apart; swaps have to confirm them.

    Source: TheDeepChecker (baseline and overfit tests); the update-ratio band [1e-4, 1e-1] is measured on healthy
    runs of this project, after Karpathy 2019.
    """
    trained = subject.trained
    record = trained.record
    if trained.crash is not None or record is None or record.steps < 4 or record.first_nonfinite is not None:
        yield skipped("the training did not run to a comparable end")
        return
    simple = baselines(subject)
    if subject.target.training.fit is not None and not simple.constant:
        behind = behind_in_fit
    margin = max(behind * simple.span, errors * simple.error)
    text = f"{trained.metric} on validation is {trained.score:.3f}, that of {simple.name} {simple.best:.3f}"
    bound = simple.best + margin if simple.constant else simple.best - margin
    if math.isfinite(trained.score) and trained.score >= bound:
        yield passed(text, value=trained.score)
        return
    faults = _suspects(subject, simple)
    yield Judgement(
        Status.FAIL, text, value=trained.score, threshold=round(bound, 4), faults=faults,
    )


def _suspects(subject: Any, simple: Baselines) -> dict[str, float]:
    trained = subject.trained
    seen = signs(trained.record)
    last = trained.epochs[-1]
    memorised = last.train_metric - last.validation_metric > 0.15 * simple.span and last.train_metric > simple.best
    if memorised:
        return {"overfitting": 0.6}
    faults: dict[str, float] = {}
    if seen.too_large:
        faults["learning_rate_too_high"] = 0.75
    if seen.too_small:
        faults["learning_rate_too_low"] = 0.75
    if not seen.too_large:
        faults.setdefault("learning_rate_too_low", 0.55)
        if seen.slope_share > 0.1:
            faults["too_few_epochs"] = 0.5
    else:
        faults["wrong_optimizer"] = 0.3
    if seen.decayed < 1e-3:
        faults["scheduler_misuse"] = 0.6
    if subject.target.training.penalty is not None or trained.record.weight_decay > 0.05:
        faults["over_regularised"] = 0.6
    return faults


@check(layer=Layer.TRAINING, needs={"record"}, detects={"stalled": 0.4})
def stalled(subject: Any, *, fall: float = 0.02) -> Iterator[Judgement]:
    """Look whether the training loss fell at all; `value` is its relative fall over the run.

    Source: Amazon SageMaker Debugger, LossNotDecreasing.
    """
    record = subject.record
    if record.steps < 10 or record.first_nonfinite is not None:
        yield skipped("fewer than 10 finite steps were seen")
        return
    drop = signs(record).drop
    yield judge(
        drop, below=fall, otherwise=Status.WARN, message=f"the training loss fell by {drop:.1%} over {record.steps} steps",
        fix="look for the cause: learning rate, frozen parameters, labels",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"diverged": 0.5})
def diverged(subject: Any, *, growth: float = 2.0) -> Iterator[Judgement]:
    """Look whether the training loss ended above where it began; `value` is their ratio.

    Source: AutoTrainer (Zhang et al. 2021), exploding training.
    """
    record = subject.record
    if record.steps < 10 or record.first_nonfinite is not None:
        yield skipped("fewer than 10 finite steps were seen")
        return
    start, end = record.loss_ends()
    ratio = abs(end) / max(abs(start), 1e-9)
    yield judge(
        ratio if end > start else min(ratio, 1.0), above=growth, otherwise=Status.WARN,
        message=f"the training loss ended at {ratio:.2g} times its start", fix="lower the learning rate",
    )


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"overfitting": 0.6})
def overfitting(subject: Any, *, gap: float = 0.1, rise: float = 1.3) -> Iterator[Judgement]:
    """Look for a gap between train and validation that opens while validation gets worse.

    `value` is train metric minus validation metric at the end. A gap alone is a warning at most: many good models have one.

    Source: AutoTrainer; FAULTS of this project (gap > 0.1 for several epochs).
    """
    epochs = subject.trained.epochs
    if len(epochs) < 4:
        yield skipped("fewer than 4 epochs were seen")
        return
    opened = epochs[-1].train_metric - epochs[-1].validation_metric
    best = min(epoch.validation_loss for epoch in epochs)
    worse = epochs[-1].validation_loss > rise * best
    if not math.isfinite(opened) or opened <= gap or not worse:
        yield passed(f"train is {opened:+.3f} against validation at the end", value=opened)
        return
    lost = max(epoch.validation_metric for epoch in epochs) - epochs[-1].validation_metric
    yield Judgement(
        Status.FAIL if lost > gap else Status.WARN,
        f"train is {opened:+.3f} against validation, whose loss rose to {epochs[-1].validation_loss / best:.1f} times its best",
        value=opened, threshold=gap, fix="stop at the best epoch, regularise, or get more data",
    )
