"""What the learning curve tells: a training that stalls, diverges, or memorises."""

from __future__ import annotations

import math
from collections.abc import Iterator

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.training._performance_gap import behind, guesses
from firstfault.checks.training._record_summary import signs
from firstfault.checks.training._tighter_fit import tighter_fit
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

FIRST = 5  # steps, in which no loss has fallen far yet: of one of them alone the loss may be next to 0


@check(layer=Layer.TRAINING, needs={"record"}, detects={"stalled": 0.4})
def stalled(subject: Subject, *, fall: float = 0.02) -> Iterator[Judgement]:
    """Look whether the training loss fell at all.

    Measures: how far the loss fell from the first tenth of the steps to the last, relative to where it began.
    Fails when: the fall is below `fall`, and the model is no better than a constant answer where a simple model is:
        something can be learnt, and was not.
    Warns when: the fall is below `fall`.
    Source: Amazon SageMaker Debugger, LossNotDecreasing; the loss of 40 sound programs of benchmarks/localise.py falls
        by 0.4 and more.
    """
    record = subject.record
    if record.steps < 10 or record.first_nonfinite is not None:
        yield skipped("fewer than 10 finite steps were seen")
        return
    drop = signs(record).drop
    failed = drop < fall and guesses(subject)
    yield judge(
        drop,
        below=fall,
        otherwise=Status.FAIL if failed else Status.WARN,
        message=f"the training loss {'rose' if drop < 0 else 'fell'} by {abs(drop):.1%} over {record.steps} steps",
        faults={"stalled": 0.5 if failed else 0.4},
        fix="look for the cause: learning rate, frozen parameters, labels",
    )


@check(
    layer=Layer.TRAINING,
    needs={"record"},
    detects={"diverged": 0.5, "learning_rate_too_high": 0.4, "flipped_loss_sign": 0.9},
)
def diverged(subject: Subject, *, growth: float = 2.0, endless: float = 1e6) -> Iterator[Judgement]:
    """Look whether the training loss ended above where it began.

    Measures: the size of the loss at the end over that at the start; at most 1 where it fell.
    Fails when: the ratio is above `growth`, and the model ends worse than a simple one; or the loss falls below 0 by
        `endless` times the largest of its first five values, as no loss does that has a floor.
    Not a fault when: an adversary or a policy learns, whose losses have none.
    Warns when: the ratio is above `growth`.
    Source: AutoTrainer (Zhang et al. 2021), exploding gradients. The bound is a choice of ours;
        tests/checks/training/test_every_fault.py holds the cases that it separates.
    """
    record = subject.record
    if record.steps < 10 or record.first_nonfinite is not None:
        yield skipped("fewer than 10 finite steps were seen")
        return
    start, end = record.loss_ends()
    ratio = abs(end) / max(abs(start), 1e-9)
    floor = not (record.maximises or record.generated or len(record.rewards))
    first = max(abs(value) for value in record.loss.values[:FIRST])
    if floor and end < 0 and end < start and -end > endless * max(first, 1e-9):
        yield Judgement(
            Status.FAIL,
            f"the training loss falls without end, from {record.loss[0]:.3g} to {end:.3g}: a term of it is rewarded "
            "for growing",
            value=-end / max(first, 1e-9),
            threshold=endless,
            where=Place.part("the loss"),
            faults={"flipped_loss_sign": 0.9},
            fix="look at the sign of each term: one of them is maximised",
        )
        return
    value = ratio if end > start else min(ratio, 1.0)
    failed = value > growth and behind(subject)
    yield judge(
        value,
        above=growth,
        otherwise=Status.FAIL if failed else Status.WARN,
        message=f"the training loss ended at {ratio:.2g} times its start",
        faults={"diverged": 0.5, "learning_rate_too_high": 0.4},
        fix="lower the learning rate",
    )


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"overfitting": 0.6}, gradients=False)
def overfitting(subject: Subject, *, gap: float = 0.1, rise: float = 1.3, errors: float = 2.0) -> Iterator[Judgement]:
    """Look for a gap between train and validation that opens while validation gets worse.

    Measures: the train metric minus the validation metric at the end.
    Fails when: the gap is above `gap`, the validation loss ends above `rise` times its lowest, and the validation
        metric ends more than `gap` below its best. Of an estimator: the gap is above `gap`, and with settings that let
        it fit less its validation loss is `rise` times lower, and its score better by a twentieth of the way from a
        constant answer to a perfect one and by `errors` standard errors.
    Warns when: the first two hold alone.
    Not a fault when: the gap is all there is: many good models have one.
    Source: Amazon SageMaker Debugger, Overfit. The bounds are a choice of ours;
        tests/checks/training/test_every_fault.py holds the cases that they separate. With default settings, forests and
        boosted trees on six tables were at most 1.5 times above the tighter one's loss or no worse in score.
    """
    epochs = subject.trained.epochs
    opened = epochs[-1].train_metric - epochs[-1].validation_metric if epochs else math.nan
    if not subject.target.by_gradients and opened > gap:
        yield _beside_tighter(subject, opened, gap, rise, errors)
        return
    if len(epochs) < 4:
        yield skipped("fewer than 4 epochs were seen")
        return
    best = min(epoch.validation_loss for epoch in epochs)
    worse = epochs[-1].validation_loss > rise * best
    if not math.isfinite(opened) or opened <= gap or not worse:
        yield passed(f"train is {opened:+.3f} against validation at the end", value=opened)
        return
    lost = max(epoch.validation_metric for epoch in epochs) - epochs[-1].validation_metric
    yield Judgement(
        Status.FAIL if lost > gap else Status.WARN,
        f"train is {opened:+.3f} against validation, "
        f"whose loss rose to {epochs[-1].validation_loss / best:.1f} times its best",
        value=opened,
        threshold=gap,
        fix="stop at the best epoch, regularise, or get more data",
    )


def _beside_tighter(subject: Subject, opened: float, gap: float, rise: float, errors: float) -> Judgement:
    """An estimator that knows its training rows better than others, beside itself with less freedom."""
    trained = subject.trained
    try:
        tighter = tighter_fit(subject, errors)
    except Missing:
        return passed(
            f"train is {opened:+.3f} against validation; no setting lets the estimator fit less", value=opened
        )
    worse = trained.epochs[-1].validation_loss > rise * tighter.loss
    harmed = Status.FAIL if tighter.score > tighter.bound else Status.WARN
    return Judgement(
        harmed if worse else Status.PASS,
        f"train is {opened:+.3f} against validation, whose {trained.metric} is {trained.score:.3f}, and "
        f"{tighter.score:.3f} where the estimator may fit less; its loss there is "
        f"{trained.epochs[-1].validation_loss:.3g}, and {tighter.loss:.3g}",
        value=opened,
        threshold=gap,
        fix="let it fit less: fewer rounds, shallower trees, a stronger penalty",
    )
