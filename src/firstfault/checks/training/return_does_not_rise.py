"""A watched loop that acts, and does not gain by what it learns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.training._beside_the_loss import ERRORS, FEWEST_RETURNS, OF_AN_ENVIRONMENT, are_rewards, rise_of
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.probe.record import Record
from firstfault.subject.subject import Subject

SUSPECTS = {"flipped_loss_sign": 0.4, "learning_rate_too_high": 0.3}
"""Neither stands by this alone."""
WHERE = Place.part("training loop")


@check(layer=Layer.TRAINING, needs={"record"}, detects=SUSPECTS)
def return_does_not_rise(
    subject: Subject, *, errors: float = ERRORS, fewest: int = FEWEST_RETURNS
) -> Iterator[Judgement]:
    """Find loops that act, and whose rewards are no higher at the end than at the start.

    Measures: by how many standard errors the mean return of the last tenth of the episodes lies above that of the
        first. Of an environment, whose `step` gives the reward, an episode ends with its `done` or at the next `reset`;
        of one without an end, and of a loop whose variable is called `reward`, `rewards` or `returns`, the rewards of
        an update count.
    Fails when: the returns fall by `errors` standard errors.
    Warns when: they rise by less than that, there are fewer than `fewest` of them, or a loop that learns from the
        probability of what it drew shows no rewards at all. Then nothing tells that it has learnt.
    Not a fault when: no environment is in sight and the loop does not act: then its loss is judged.
    Source: Henderson et al. 2018, "Deep reinforcement learning that matters" (returns, not losses, tell what a policy
        learnt). The bounds are a choice of ours: the returns of a policy that learns nothing differ by less than 4
        standard errors, but 1 time in 2,000, and drift by its own noise.
    """
    record = subject.record
    if record.reward_of and are_rewards(record):
        yield from _judged(record, errors, fewest)
    elif record.draws:
        yield _open("the loop acts, and nothing tells what its actions bring")
    else:
        yield skipped("the loop was not seen to act")


def _judged(record: Record, errors: float, fewest: int) -> Iterator[Judgement]:
    values = np.asarray(record.rewards.values, float)
    certain = record.draws or record.reward_of.endswith(OF_AN_ENVIRONMENT)
    if len(values) < fewest or not np.isfinite(values).all():
        text = f"{record.reward_of} told {len(values)} returns, of which none can be compared"
        yield _open(text) if certain else skipped(text)
        return
    first, last, rise = rise_of(record.rewards.values, fewest)
    text = f"the mean return of {record.reward_of} went from {first:.4g} to {last:.4g}"
    if rise <= -errors:
        yield judge(
            rise, below=-errors, where=WHERE, message=text, fix="look at the sign of the loss and of the reward"
        )
    elif rise >= errors:
        yield passed(text, value=rise)
    elif certain:
        yield _open(f"{text}, which may be chance", rise)
    else:
        yield skipped(f"{text}, which tells nothing either way")


def _open(text: str, value: float | None = None) -> Judgement:
    return Judgement(Status.WARN, text, value=value, where=WHERE, faults={})
