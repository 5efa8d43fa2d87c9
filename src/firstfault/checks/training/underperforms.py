"""A trained model that is worse than a simple one, steps that replace the weights, and what they suggest."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.training._beside_the_loss import gains
from firstfault.checks.training._performance_gap import BEHIND, BEHIND_IN_FIT, ERRORS, Shortfall, harmed, shortfall
from firstfault.checks.training._record_summary import learns, pushed, signs
from firstfault.checks.training._suspects_of_estimator import memorised, suspects_of_estimator
from firstfault.errors import Missing, UserCodeError
from firstfault.finding import Layer, Status
from firstfault.probe.record import Record
from firstfault.subject.replay import replayed
from firstfault.subject.subject import Subject

# What follows tells causes apart; whether a model falls short is decided by the arguments of the check alone.
FEW_STEPS = 50  # below which too few steps are a likely cause, whatever their size
WHOLE = 0.25  # of the rows in one batch: an epoch then is 4 steps
TINY_BATCH = 4  # rows, whose gradient is mostly noise
UNPROVEN = 0.45  # below what stands in a verdict by itself: a swap has to confirm it
FIRST = 5  # steps, which still move the initialisation
SPENT = 1e-3  # of the highest rate: a schedule that ends there has ended the learning
STILL_FALLING = 0.1  # of all that the loss fell, in the last quarter of the steps
STRONG_DECAY = 0.05  # five times AdamW's default of 0.01
ADAPTIVE = frozenset({"Adam", "AdamW", "NAdam", "RAdam", "Adamax", "SparseAdam", "RMSprop", "Muon"})


@check(
    layer=Layer.TRAINING,
    needs={"trained"},
    gradients=False,
    detects={
        "learning_rate_too_high": 0.75,
        "learning_rate_too_low": 0.55,
        "too_few_epochs": 0.5,
        "batch_size_too_large": 0.65,
        "batch_size_too_small": 0.65,
        "wrong_optimizer": 0.4,
        "scheduler_misuse": 0.6,
        "over_regularised": 0.6,
        "overfitting": 0.6,
        "vanishing_gradient": 0.6,
    },
)
def underperforms(
    subject: Subject, *, behind: float = BEHIND, behind_in_fit: float = BEHIND_IN_FIT, errors: float = ERRORS
) -> Iterator[Judgement]:
    """Find a trained model that is worse than a simple model on the same prepared data, and say what the run suggests.

    Measures: the score on validation, beside the best of a constant answer and a simple model.
    Fails when: the score is behind by more than `behind` of the way from a constant answer to a perfect one, and by
        more than `errors` standard errors. Where only a constant answer can be tried, or the simple model is no better,
        the model has to beat it by as much. Only a gap of more than `behind_in_fit` stands by itself: of a smaller one,
        a swap has to confirm the cause. Likely causes are told from the steps of the run.
    Not a fault when: the gap is no larger than `behind_in_fit`, and no swap can confirm anything: in a loop of the
        user's own that can't be replayed, or of a network that knows its rows by heart, which is a warning.
    Source: TheDeepChecker (baseline and overfit tests); of benchmarks/localise.py, 40 sound programs end up to 0.04
        behind, and 20 with too low a rate 0.09 and more. Updates of 3e-4 to 0.1 of the weights count as sound:
        Karpathy 2019 (about 1e-3), and those programs (2e-3 to 3e-2).
    """
    found = shortfall(
        subject, behind=behind, behind_in_fit=behind if _can_be_varied(subject) else behind_in_fit, errors=errors
    )
    if found is None:
        yield skipped("the training did not run to a comparable end")
    elif not found.short:
        yield passed(found.text, value=found.score)
    else:
        suspects = _suspects if subject.target.by_gradients else suspects_of_estimator
        simple, faults = found.simple, suspects(subject, found)
        mild = (
            not simple.constant
            and found.bound < simple.best
            and found.score >= simple.best - behind_in_fit * simple.span
        )
        if mild:
            faults = {fault: min(weight, UNPROVEN) for fault, weight in faults.items()}
        untestable = mild and subject.target.by_gradients and set(faults) == {"overfitting"}
        yield Judgement(
            Status.WARN if untestable else Status.FAIL,
            found.text,
            value=found.score,
            threshold=round(found.bound, 4),
            faults=faults,
        )


def _can_be_varied(subject: Subject) -> bool:
    """Whether swaps can vary the training: firstfault's own loop, or the replay of the user's."""
    if subject.training.fit is None:
        return True
    try:
        replayed(subject)
    except (Missing, UserCodeError):
        return False
    return True


def _suspects(subject: Subject, found: Shortfall) -> dict[str, float]:
    trained, training = subject.trained, subject.training
    record, last = trained.record, trained.epochs[-1]
    size, rows = training.batch_size, max(1, len(subject.recipe.train))
    few = record.steps < FEW_STEPS
    whole = {"batch_size_too_large": 0.65} if few and size >= WHOLE * rows else {}
    if record.steps < 4:
        return {"too_few_epochs": 0.6, **whole}
    if not pushed(record):
        return {"vanishing_gradient": 0.6}
    seen = signs(record)
    simple = found.simple
    learnt = simple.prior + 0.5 * simple.span if simple.constant else simple.best
    if memorised(last, simple, learnt):
        return {"overfitting": 0.6, **({"learning_rate_too_high": 0.6} if seen.too_large else {})}
    faults: dict[str, float] = dict(whole)
    if seen.too_large:
        faults |= {"learning_rate_too_high": 0.75, "wrong_optimizer": 0.3}
    else:
        faults |= {"learning_rate_too_low": 0.75 if seen.too_small and seen.decayed >= SPENT else 0.55}
        if (seen.slope_share > STILL_FALLING and learns(record)) or (few and not seen.too_small):
            faults["too_few_epochs"] = 0.6 if few else 0.5
        if not ADAPTIVE & set(record.optimizers):
            faults["wrong_optimizer"] = 0.4
    if size <= TINY_BATCH:
        faults["batch_size_too_small"] = 0.65
    if seen.decayed < SPENT:
        faults["scheduler_misuse"] = 0.6
    if training.penalty is not None or record.weight_decay > STRONG_DECAY:
        faults["over_regularised"] = 0.6
    return faults


@check(layer=Layer.TRAINING, needs={"record"}, detects={"learning_rate_too_high": 0.6})
def overshoots(subject: Subject, *, largest: float = 1.0, far: float = 5.0) -> Iterator[Judgement]:
    """Find first updates that are larger than the weights that they update.

    Measures: the largest update of the first 5 steps relative to its weight, median over the weights that were updated,
        biases left out: beyond 1, little is left of the initialisation.
    Fails when: it is above `largest`, and a swap can tell whether smaller steps are better, or the training breaks,
        learns nothing, or ends worse than a simple model; or it is above `far`, nothing can be told of the end, and the
        loss did not end below half of the first.
    Warns when: it is above `largest`.
    Not a fault when: weights begin next to zero, and have to go far.
    Source: Karpathy 2019 (about 1e-3); in 40 sound programs of benchmarks/localise.py it is 0.015 to 0.1, in 20 with
        the fault learning_rate_too_high 4.5 to 83.
    """
    record = subject.record
    ratios = [
        max(values)
        for name, entry in record.parameters.items()
        if not name.endswith("bias")
        and entry.size > 1
        and (values := [ratio for ratio in entry.update.values[:FIRST] if np.isfinite(ratio)])
        and entry.update.steps[0] <= FIRST
        and entry.weight.values[0] > 1e-6
        and max(values) > 0
    ]
    if not ratios or "LBFGS" in record.optimizers:  # which searches how far to go
        yield skipped("no update of a weight, by a rate, was seen in the first steps")
        return
    value = float(np.median(ratios))
    text = f"one of the first updates changes a weight by {value:.2g} times its size"
    if value <= largest:
        yield passed(text, value=value)
        return
    unknown = subject.failed(Subject.recipe_and_classes) or subject.failed(Subject.trained)
    testable = subject.training.fit is None and not unknown
    over = (
        unknown and bool(record.moved) and value > far and not (_fell(record) or gains(record))
    )  # `moved` is known at the end
    failed = testable or harmed(subject) or over
    yield Judgement(
        Status.FAIL if failed else Status.WARN,
        text,
        value=value,
        threshold=largest,
        fix="divide the learning rate by 10 or more, or warm it up",
    )


def _fell(record: Record) -> bool:
    """Whether the loss ends below half of what it was in the first step."""
    return len(record.loss) > 0 and 0 <= record.loss_ends()[1] < record.loss[0] / 2
