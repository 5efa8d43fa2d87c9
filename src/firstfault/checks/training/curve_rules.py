"""What the curves of a training tell over its rounds: a loss that swings, a late best validation, an early end."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.training._performance_gap import behind
from firstfault.finding import Layer, Status
from firstfault.subject.subject import Subject

WINDOWS = 20  # of at least 3 steps: means that noise of batches moves little, and enough of them to swing


@check(layer=Layer.TRAINING, needs={"record"}, detects={"oscillating": 0.4, "learning_rate_too_high": 0.3})
def oscillating(subject: Subject, *, swing: float = 0.5, times: int = 2) -> Iterator[Judgement]:
    """Look for a training loss that climbs back again and again.

    Measures: the number of climbs by more than `swing` of the first loss, each from the lowest loss since the last
        climb. The losses are averaged in 20 windows.
    Fails when: there are at least `times` of them, and the model ends worse than a simple one.
    Warns when: there are at least `times` of them.
    Source: AutoTrainer (Zhang et al. 2021), oscillating loss. The bounds are a choice of ours;
        tests/checks/training/test_rules.py and test_every_fault.py hold the cases that they separate.
    """
    record = subject.record
    if record.steps < 3 * WINDOWS or record.first_nonfinite is not None:
        yield skipped(f"fewer than {3 * WINDOWS} finite steps were seen")
        return
    means = [float(np.mean(part)) for part in np.array_split(np.asarray(record.loss.values, float), WINDOWS)]
    climbs = _climbs(means, swing * abs(means[0]))
    failed = climbs >= times and behind(subject)
    yield judge(
        climbs,
        above=times - 1,
        otherwise=Status.FAIL if failed else Status.WARN,
        faults={"oscillating": 0.5, "learning_rate_too_high": 0.3},
        message=f"the training loss climbed by {swing:.0%} of its start {climbs} times",
        fix="lower the learning rate, shuffle, or use larger batches",
    )


def _climbs(means: list[float], least: float) -> int:
    count, low = 0, means[0]
    for mean in means:
        if mean - low > least:
            count, low = count + 1, mean
        low = min(low, mean)
    return count


def validation_curve(subject: Subject) -> list[float]:
    """The validation loss by round: of the epochs that were evaluated, or as the loop itself asked for it."""
    trained = subject.made(Subject.trained)
    epochs = [epoch.validation_loss for epoch in getattr(trained, "epochs", ())]
    return epochs if len(epochs) > 1 else list(subject.record.validation_loss)


@check(layer=Layer.TRAINING, needs={"record"}, detects={"overfitting": 0.3, "early_stopping_misconfigured": 0.2})
def overtraining(subject: Subject, *, patience: int = 10, delta: float = 0.25) -> Iterator[Judgement]:
    """Look for a training that goes on long after validation was at its best.

    Measures: the number of rounds since the lowest validation loss; 0 where the loss at the end has given back no more
        than `delta` of what had been won.
    Warns when: the number is above `patience`.
    Source: Amazon SageMaker Debugger, Overtraining (10 rounds of validation); `delta` is a choice of ours, as a noisy
        loss is hardly ever lowest in its last round.
    """
    curve = validation_curve(subject)
    if len(curve) < 4 or not all(map(math.isfinite, curve)):
        yield skipped("fewer than 4 finite rounds of validation were seen")
        return
    best = int(np.argmin(curve))
    since, worse = len(curve) - 1 - best, curve[-1] > curve[best] + delta * (curve[0] - curve[best])
    yield judge(
        since if worse else 0,
        above=patience,
        otherwise=Status.WARN,
        message=f"the validation loss was lowest ({curve[best]:.3g}) in round {best + 1} of {len(curve)}, "
        f"and ends at {curve[-1]:.3g}",
        fix="stop at the best round, or keep its weights",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"early_stopping_misconfigured": 0.2, "too_few_epochs": 0.2})
def stopped_early(subject: Subject, *, fall: float = 0.2, rounds: int = 3) -> Iterator[Judgement]:
    """Look for a training that ends while validation still gets better by leaps, in each of its rounds.

    Measures: the relative fall of the validation loss over the last round; at most 0 where it rose in some round.
    Warns when: the fall is above `fall`, after at least `rounds` rounds. Early stopping in the wrong direction or with
        too short a patience looks like this, and so do too few epochs.
    Source: Prechelt 1998, Early stopping – but when? The bounds are a choice of ours;
        tests/checks/training/test_rules.py holds the cases that they separate.
    """
    curve = validation_curve(subject)
    if len(curve) < rounds or not all(map(math.isfinite, curve)):
        yield skipped(f"fewer than {rounds} finite rounds of validation were seen")
        return
    steady = all(after < before for before, after in zip(curve, curve[1:], strict=False))
    value = (curve[-2] - curve[-1]) / max(abs(curve[-2]), 1e-12)
    yield judge(
        value if steady else min(value, 0.0),
        above=fall,
        otherwise=Status.WARN,
        message=f"the validation loss fell by {value:.0%} in the last of {len(curve)} rounds",
        fix="train longer; check the direction and patience of early stopping",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"overfitting": 0.3})
def overfit(subject: Subject, *, ratio: float = 0.1, rise: float = 1.3, rounds: int = 4) -> Iterator[Judgement]:
    """Look for a validation loss that rises while the training loss falls, as the loop itself asked for them.

    Measures: the gap between both losses at the end, relative to the training loss.
    Warns when: the gap is above `ratio`, and the validation loss ends above `rise` times its lowest, after at least
        `rounds` rounds.
    Not a fault when: the gap is all there is: many good models have one.
    Source: Amazon SageMaker Debugger, Overfit (ratio 0.1); `rise` and `rounds` are a choice of ours.
    """
    record, curve = subject.record, list(subject.record.validation_loss)
    if len(curve) < rounds or not all(map(math.isfinite, curve)) or record.first_nonfinite is not None:
        yield skipped(f"fewer than {rounds} rounds of validation with a loss of torch were seen")
        return
    _, train = record.loss_ends()
    gap = (curve[-1] - train) / max(abs(train), 1e-12)
    if curve[-1] <= rise * min(curve) or gap <= ratio:
        yield passed(
            f"the validation loss ends at {curve[-1]:.3g}, its lowest is {min(curve):.3g}, "
            f"that of training {train:.3g}",
            value=gap,
        )
        return
    yield Judgement(
        Status.WARN,
        f"the validation loss rose from {min(curve):.3g} to {curve[-1]:.3g}, while that of training is {train:.3g}",
        value=gap,
        threshold=ratio,
        fix="stop at the best round, regularise, or get more data",
    )
