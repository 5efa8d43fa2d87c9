"""Where the user's own loop stops: when validation gets better, or before it has."""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from firstfault.check import Depth, Judgement, check, passed, skipped
from firstfault.checks.training._performance_gap import behind, shortfall
from firstfault.checks.training._record_summary import signs
from firstfault.clock import Deadline
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.probe.record import Record
from firstfault.subject.rerun import fixed_seeds
from firstfault.subject.subject import Subject
from firstfault.training.loop import train
from firstfault.training.observer import Enough, Follower
from firstfault.training.recipe import Recipe, Tensors

SECONDS = 10.0  # of a training: its reruns would take longer than all else of a run at depth standard
TRAININGS, LEAST_SECONDS = 3.0, 15.0  # what the reruns may cost, as depth standard promises
FEWEST = 4  # steps, of which the signs of a record can be read
DECAYED = 0.1  # of the highest rate: a schedule that ends below has ended the learning, and is judged on its own
AGAIN = 4  # reruns from where it stopped: bounds the cost


@check(
    layer=Layer.TRAINING,
    needs={"recipe", "trained"},
    detects={"early_stopping_misconfigured": 0.92, "too_few_epochs": 0.92},
    depth=Depth.STANDARD,
)
def stops_too_soon(subject: Subject, *, closed: float = 0.5, least: float = 0.1) -> Iterator[Judgement]:
    """Find a loop of the user's own that stops while it still learns, and whether its early stopping is the reason.

    Measures: the share of the gap to the score that it has to reach, which the loop closes when it is run again from
        where it stopped, up to 4 times; a gap counts as at least `least` of the way from a constant answer to a perfect
        one. And how often the loop passes over the data with other validation splits: training rows, whose loss
        falls, and rows with wrong labels, whose loss rises. It takes 15 s or 3 trainings at most; a training of more
        than 10 s is left to depth deep.
    Fails when: the share is above `closed`, or the loop goes on for longer when validation gets worse than when it gets
        better: its direction is wrong. A loop that passes as often with either has no early stopping, but too few
        epochs.
    Not a fault when: the model is no worse than a simple one; or it is, but its steps are too small or too large, or a
        schedule made them so.
    Source: Prechelt 1998, Early stopping – but when? The test is metamorphic, and its bounds are a choice of ours;
        tests/checks/training/test_every_fault.py holds the cases that they separate.
    """
    passes = len(subject.trained.epochs) - 1
    if subject.training.fit is None:
        yield skipped("firstfault's own loop runs all its epochs")
    elif passes < 1 or not behind(subject) or not _sound_steps(subject.trained.record):
        yield skipped("the loop did not end early, or not for want of passes over the data")
    elif subject.trained.cpu > SECONDS and subject.depth is not Depth.DEEP:
        yield skipped("the training takes too long to be run again; depth deep does it")
    else:
        yield _judged(subject, passes, closed, least)


def _sound_steps(record: Record) -> bool:
    """Whether the steps were neither too small nor too large, and not made so by a schedule."""
    if record.steps < FEWEST:
        return True
    seen = signs(record)
    return not seen.too_small and not seen.too_large and seen.decayed > DECAYED


def _judged(subject: Subject, passes: int, closed: float, least: float) -> Judgement:
    recipe, seed = subject.recipe, subject.seed
    deadline = (
        Deadline(max(LEAST_SECONDS, TRAININGS * subject.trained.cpu)) if subject.depth is not Depth.DEEP else None
    )
    good = _passes(replace(recipe, validation=recipe.train.rows(slice(len(recipe.validation)))), seed, passes, deadline)
    bad = _passes(replace(recipe, validation=_wrong(recipe.validation, recipe)), seed, passes, deadline)
    if good is None or bad is None:
        return skipped("the loop can't be run again")
    fix = (
        "stop when validation has not improved for several passes: "
        "compare with the best so far, in the direction of what is compared"
    )
    if bad[0] > good[0] and good[1]:
        return Judgement(
            Status.FAIL,
            f"the loop stops after {good[0]} passes when validation gets better with each, "
            f"and goes on for {bad[0]} and more when it gets worse",
            value=good[0],
            threshold=bad[0],
            where=Place.setting("training.fit"),
            faults={"early_stopping_misconfigured": 0.92},
            fix=fix,
        )
    share = _closed(subject, seed, deadline, least)
    if share is None or not math.isfinite(share):
        return passed("run again from where it stopped, the loop comes to no score")
    if share <= closed:
        return passed(f"run again from where it stopped, the loop closes {share:.0%} of the gap", value=share)
    stops = good[0] != bad[0]
    return Judgement(
        Status.FAIL,
        f"run again from where it stopped after {passes} passes, "
        f"the loop closes {share:.0%} of the gap to the score that a simple model promises"
        f"{f'; it stops by itself: after {bad[0]} passes when validation gets worse' if stops else ''}",
        value=share,
        threshold=closed,
        where=Place.setting("training.fit"),
        faults={"early_stopping_misconfigured" if stops else "too_few_epochs": 0.92},
        fix="raise the patience of early stopping" if stops else "train longer",
    )


def _wrong(rows: Tensors, recipe: Recipe) -> Tensors:
    """The same rows with labels that are all wrong: the next class, the other answer, the number beyond the mean."""
    y = rows.y
    if recipe.task == "regression":
        return Tensors(rows.x, 2 * y.mean(0) - y)
    if recipe.task == "multilabel":
        return Tensors(rows.x, 1 - y)
    return Tensors(rows.x, (y + 1) % (recipe.classes or int(y.max()) + 1))


def _passes(recipe: Recipe, seed: int, usual: int, deadline: Deadline | None) -> tuple[int, bool] | None:
    """How often a loop passes over the data, and whether its validation loss fell each time.

    It is ended where it passes twice as often as usual, and twice more.
    """
    counter = _Counter(2 * usual + 2)
    with contextlib.suppress(Enough), fixed_seeds(seed):
        again = train(recipe, seed, probe=counter, deadline=deadline)
        if again.crash is not None or again.share < 1:
            return None
    losses = counter.losses[: counter.passes]
    return (
        (counter.passes, all(after < before for before, after in zip(losses, losses[1:], strict=False)))
        if counter.passes
        else None
    )


class _Counter(Follower):
    """Counts the passes of a loop, and ends it after some."""

    def __init__(self, most: int) -> None:
        self.most, self.passes, self.losses = most, 0, list[float]()

    def end_epoch(self, epoch: Any) -> None:
        """Note a pass; the last call of a training is of none."""
        self.losses.append(epoch.validation_loss)
        self.passes = max(1, len(self.losses) - 1)
        if len(self.losses) > self.most:
            raise Enough


def _closed(subject: Subject, seed: int, deadline: Deadline | None, least: float) -> float | None:
    """The share of the gap to the score it has to reach that the loop closes when it goes on from where it stopped."""
    gap = shortfall(subject)
    if gap is None:
        return None
    model, score, start = subject.trained.model, gap.score, max(gap.score, gap.simple.prior - gap.simple.span)
    for _ in range(AGAIN):
        again = train(replace(subject.recipe, model=functools.partial(copy.deepcopy, model)), seed, deadline=deadline)
        if again.crash is not None:
            return None
        model, score = again.model, again.score
        if score >= gap.bound or again.share < 1:
            break
    return (score - start) / max(gap.bound - start, least * gap.simple.span)
