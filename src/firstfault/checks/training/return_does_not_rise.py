"""A watched loop that acts, and does not gain by what it learns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.probe.record import Record
from firstfault.subject.subject import Subject

OF_AN_ENVIRONMENT = ".step"
SUSPECTS = {"flipped_loss_sign": 0.4, "learning_rate_too_high": 0.3}
"""Neither stands by this alone."""
WHERE = Place.part("training loop")


@check(layer=Layer.TRAINING, needs={"record"}, detects=SUSPECTS)
def return_does_not_rise(subject: Subject, *, errors: float = 3.0, fewest: int = 30) -> Iterator[Judgement]:
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
        learnt). The bounds are a choice of ours: of random policies, about 1 in 500 rises by 3 standard errors.
    """
    record = subject.record
    if record.reward_of and _tells(record):
        yield from _judged(record, errors, fewest)
    elif record.draws:
        yield _open("the loop acts, and nothing tells what its actions bring")
    else:
        yield skipped("the loop was not seen to act")


def _tells(record: Record) -> bool:
    """Whether what was read are rewards: a variable that only grows is a sum over the whole training."""
    of_environment = record.reward_of.endswith(OF_AN_ENVIRONMENT)
    apart = np.diff(np.asarray(record.rewards.values, float))
    return of_environment or bool((apart > 0).any() and (apart < 0).any())


def _judged(record: Record, errors: float, fewest: int) -> Iterator[Judgement]:
    values = np.asarray(record.rewards.values, float)
    certain = record.draws or record.reward_of.endswith(OF_AN_ENVIRONMENT)
    if len(values) < fewest or not np.isfinite(values).all():
        text = f"{record.reward_of} told {len(values)} returns, of which none can be compared"
        yield _open(text) if certain else skipped(text)
        return
    tenth = max(fewest // 3, len(values) // 10)
    first, last = values[:tenth], values[-tenth:]
    error = float(np.hypot(first.std(ddof=1), last.std(ddof=1))) / tenth**0.5
    rise = float(last.mean() - first.mean()) / max(error, 1e-9 * max(1.0, abs(float(first.mean()))))
    text = f"the mean return of {record.reward_of} went from {first.mean():.4g} to {last.mean():.4g}"
    if rise <= -errors:
        yield judge(rise, below=-errors, where=WHERE, message=text, fix="look at the sign of the loss and of the reward")
    elif rise >= errors:
        yield passed(text, value=rise)
    elif certain:
        yield _open(f"{text}, which may be chance", rise)
    else:
        yield skipped(f"{text}, which tells nothing either way")


def _open(text: str, value: float | None = None) -> Judgement:
    return Judgement(Status.WARN, text, value=value, where=WHERE, faults={})
