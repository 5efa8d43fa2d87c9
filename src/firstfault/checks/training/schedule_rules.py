"""Learning rates over the steps: a schedule that runs in batches instead of epochs, or ends before the training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.training._performance_gap import harmed
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.probe.record import Record
from firstfault.subject.subject import Subject

BY_EPOCH = (
    "StepLR",
    "MultiStepLR",
    "ExponentialLR",
    "CosineAnnealingLR",
    "LinearLR",
    "PolynomialLR",
    "LambdaLR",
    "MultiplicativeLR",
)


@check(layer=Layer.TRAINING, needs={"record"}, detects={"scheduler_misuse": 0.6})
def scheduler_misuse(
    subject: Subject, *, spent: float = 0.01, share: float = 0.5, by_batch: float = 0.8, turns: int = 2
) -> Iterator[Judgement]:
    """Find schedules that leave next to no learning rate for most of the training, and those that never ran.

    Measures: the share of the steps with less than `spent` of the highest rate, 0–1. A schedule of the user's own is
        known by its rates.
    Fails when: the share is above `share`, and a schedule that counts epochs was stepped on `by_batch` of the steps or
        more, or the training breaks, learns nothing, or ends worse than a simple model.
    Warns when: the share is above `share`; a schedule of torch was made and never stepped; or the rate of
        CosineAnnealingLR turns more than `turns` times: T_max is passed.
    Not a fault when: it is a warm-up, or a decay to zero at the end.
    Source: the documentation of torch.optim.lr_scheduler. The bounds are a choice of ours;
        tests/checks/training/test_rules.py and test_every_fault.py hold the cases that they separate.
    """
    record = subject.record
    rates = np.asarray(record.lr.values, float)
    changes = int(np.count_nonzero(np.diff(rates)))
    if record.steps < 20 or not (record.schedulers or changes):
        yield skipped("no scheduler of torch, no change of the learning rate, or fewer than 20 steps, were seen")
        return
    calls = max([changes, *record.schedulers.values()])
    value = float(np.mean(rates < spent * rates.max())) if rates.max() > 0 else 1.0
    text = (
        f"{value:.0%} of the steps have less than {spent:.0%} of the highest learning rate "
        f"({_names(record)}, {calls} calls in {record.steps} steps)"
    )
    each_batch = calls >= by_batch * record.steps
    if value > share:
        failed = (each_batch and any(name in BY_EPOCH for name in record.schedulers)) or harmed(subject)
        yield Judgement(
            Status.FAIL if failed else Status.WARN,
            text,
            value=value,
            threshold=share,
            where=Place.part("the scheduler"),
            fix="step the scheduler once an epoch, or count its settings in steps",
        )
    elif calls == 0:
        yield Judgement(
            Status.WARN,
            f"{_names(record)} was made, but never stepped",
            value=calls,
            threshold=0,
            faults={"scheduler_misuse": 0.3},
            where=Place.part("the scheduler"),
            fix="call scheduler.step() once an epoch",
        )
    elif "CosineAnnealingLR" in record.schedulers and _turns(rates) > turns:
        yield Judgement(
            Status.WARN,
            f"the learning rate of CosineAnnealingLR goes up and down {_turns(rates)} times: T_max is passed",
            value=_turns(rates),
            threshold=turns,
            faults={"scheduler_misuse": 0.3},
            where=Place.part("the scheduler"),
            fix="step it once an epoch, or count T_max in steps",
        )
    else:
        yield passed(text, value=value)


def _names(record: Record) -> str:
    return ", ".join(record.schedulers) or "a schedule"


def _turns(rates: np.ndarray[Any, Any]) -> int:
    """How often the rates change from falling to rising or back."""
    changes = np.sign(np.diff(rates))
    changes = changes[changes != 0]
    return int(np.sum(changes[1:] != changes[:-1]))
