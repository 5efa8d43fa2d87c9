"""A watched loop that acts, and does not gain by what it learns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.training._beside_the_loss import ERRORS, FEWEST_RETURNS, OF_AN_ENVIRONMENT, are_rewards, gain_of
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.probe.record import Record
from firstfault.subject.subject import Subject

SUSPECTS = {"flipped_loss_sign": 0.4, "learning_rate_too_high": 0.3}
"""Neither stands by this alone."""
PROOF = 0.92
"""The weight of a loss whose slopes were read."""
WHERE = Place.part("training loop")


@check(layer=Layer.TRAINING, needs={"record"}, detects=SUSPECTS)
def return_does_not_rise(
    subject: Subject,
    *,
    errors: float = ERRORS,
    seconded: float = 2.5,
    fewest: int = FEWEST_RETURNS,
    against: float = -0.3,
) -> Iterator[Judgement]:
    """Find loops that act, and whose rewards are no higher at the end than at the start.

    Measures: by how many standard errors the mean return of the last tenth of the episodes lies above that of the
        first; where it does, also how far the ranks of the last third lie above those of the first tenth, as those of a
        policy do that learns at once. Of an environment, whose `step` gives the reward, an episode ends with its `done`
        or at the next `reset`; of one without an end, and of a loop whose variable is called `reward`, `rewards` or
        `returns`, the rewards of an update count.
        Of a policy gradient, also how minus the slope of the loss in the log-probability of every action correlates
        with the rewards that follow, −1 to 1, as a mean over the updates.
    Fails when: the returns fall by `errors` standard errors; or they do not rise, and the correlation is below
        `against` by as many: the loss makes likelier what brings less.
    Warns when: they rise by less than that, or by less than `seconded` standard errors where the correlation is above
        minus `against` by `errors`, so that the loss makes likelier what brings more; there are fewer than `fewest` of
        them; or a loop that learns from the probability of what it drew shows no rewards at all. Then nothing tells
        that it has learnt.
    Not a fault when: no environment is in sight and the loop does not act: then its loss is judged.
    Source: Henderson et al. 2018, "Deep reinforcement learning that matters" (returns, not losses, tell what a policy
        learnt). The bounds are a choice of ours: the returns of a policy that learns nothing differ by less than 4
        standard errors, but 1 time in 2,000, and drift by its own noise; where the slopes say that it learns, chance
        1 time in 160 is enough. The correlation is above 0 of any policy gradient, whatever baseline it takes;
        tests/checks/training/test_beside_the_loss.py holds signs of both kinds.
    """
    record = subject.record
    if record.reward_of and are_rewards(record):
        yield from _judged(record, errors, seconded, fewest, against)
    elif record.draws:
        yield _open("the loop acts, and nothing tells what its actions bring")
    else:
        yield skipped("the loop was not seen to act")


def _judged(record: Record, errors: float, seconded: float, fewest: int, against: float) -> Iterator[Judgement]:
    values = np.asarray(record.rewards.values, float)
    certain = record.draws or record.reward_of.endswith(OF_AN_ENVIRONMENT)
    if len(values) < fewest or not np.isfinite(values).all():
        text = f"{record.reward_of} told {len(values)} returns, of which none can be compared"
        yield _open(text) if certain else skipped(text)
        return
    first, last, rise = gain_of(record.rewards.values, fewest)
    text = f"the mean return of {record.reward_of} went from {first:.4g} to {last:.4g}"
    mean, error = _credit(record, fewest)
    learns = certain and mean > -against and mean > errors * error
    if rise >= (seconded if learns else errors):
        yield passed(text, value=rise)
    elif certain and mean < against and mean < -errors * error:
        yield Judgement(
            Status.FAIL,
            f"{text}, and the loss makes likelier what brings less: the weights that it gives actions correlate by "
            f"{mean:.2f} with what came of them",
            value=mean,
            threshold=against,
            where=WHERE,
            faults={"flipped_loss_sign": PROOF},
            fix="minimise minus the log-probability of an action times what it brought",
        )
    elif rise <= -errors:
        fix = "look at the sign of the loss and of the reward"
        yield judge(rise, below=-errors, where=WHERE, message=text, fix=fix)
    elif certain:
        yield _open(f"{text}, which may be chance", rise)
    else:
        yield skipped(f"{text}, which tells nothing either way")


def _credit(record: Record, fewest: int) -> tuple[float, float]:
    """The mean correlation of an update's weights with what came of its actions, and its standard error."""
    values = np.asarray(record.credit.values, float)
    if len(values) < fewest:
        return 0.0, 0.0
    values = -values if record.maximises else values
    return float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5


def _open(text: str, value: float | None = None) -> Judgement:
    return Judgement(Status.WARN, text, value=value, where=WHERE, faults={})
