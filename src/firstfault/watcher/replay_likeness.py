"""Whether the replay of captured batches comes out like the watched loop: else it shows nothing of that loop."""

from __future__ import annotations

from firstfault.clock import Deadline
from firstfault.errors import FirstfaultError, UserCodeError
from firstfault.probe.probe import Probe
from firstfault.probe.record import Record
from firstfault.probe.sampling_schedule import NEVER
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.training.loop import train
from firstfault.watcher.rerun.scores import ALIKE, curves_apart

MOST_SECONDS = 20.0
"""CPU seconds for the replay; what it has made of its curve by then is compared."""


@memo(of="trained")
def replay_unlike(subject: Subject) -> str:
    """In which way the replay comes out otherwise than the watched loop; empty where it does not."""
    record = subject.record
    probe, recipe = Probe(every=NEVER), subject.recipe
    try:
        train(recipe, recipe.training.seed, probe=probe, deadline=Deadline(MOST_SECONDS))
    except (UserCodeError, FirstfaultError):
        return "the replay of the captured batches raises, and the watched loop did not"
    steps = min(record.steps, probe.record.steps)
    apart = curves_apart(_curve(record, steps), _curve(probe.record, steps), steps)
    if apart <= ALIKE:
        return ""
    return "the replay of the captured batches doesn't come out like what was watched"


def _curve(record: Record, steps: int) -> list[tuple[int, float]]:
    return [(step, value) for step, value in zip(record.loss.steps, record.loss.values, strict=True) if step <= steps]
