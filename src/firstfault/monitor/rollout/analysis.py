"""The analysis of a rollout that is on: a process of its own, which reads what the store has got, and compares.

`python -m firstfault.monitor.rollout.analysis`, with its `Task` on the input. It says a line of JSON, a `Standing`,
after every look. It ends when something is concluded, when its requests or its time are over, or when it is told to
(SIGTERM); with an endpoint, it stays until it is told to. What it has not concluded by then is undecided.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable

import msgspec

from firstfault.monitor.record import Record
from firstfault.monitor.rollout.child import heed_sigterm
from firstfault.monitor.rollout.comparison import compare
from firstfault.monitor.rollout.endpoint import Endpoint
from firstfault.monitor.rollout.evidence_shown import with_requests
from firstfault.monitor.rollout.gathering import SETTLING_SECONDS, Gathered
from firstfault.monitor.rollout.plan import Mode, Plan
from firstfault.monitor.rollout.standing import Standing, nothing_yet
from firstfault.monitor.rollout.tail import Tail
from firstfault.monitor.settings import Settings

logger = logging.getLogger(__name__)
REST = 4.0
"""After a look, so many times as long as it took are spent on nothing: four fifths of a processor stay free."""


class Task(msgspec.Struct, frozen=True):
    """What an analysis is to do."""

    settings: Settings
    plan: Plan
    since: float | None = None
    """The first moment that counts, in seconds since 1970; by default the challenger's first request."""
    model: str = ""
    seconds: float | None = None
    """After so long it ends."""
    every: float = 1.0
    """Seconds between two looks, at least."""
    settling: float = SETTLING_SECONDS
    """Before the last look, for records that are on their way."""
    host: str = ""
    port: int = 0
    """Where it answers controllers of rollouts; nowhere without a host."""


class Analysis:
    """What one process knows of a rollout."""

    def __init__(self, task: Task) -> None:
        self.task, self.plan = task, task.plan
        self.tail = Tail(task.settings, task.since or 0.0)
        self.gathered = Gathered(task.plan.mode, task.model)
        self._begun = task.since is not None or task.plan.mode is Mode.SHADOW
        self._before: list[Record] = []

    def look(self, *, last: bool = False) -> Standing:
        """Read what has come, and compare; the `last` look takes also what was over this very moment.

        Raises:
            OSError: when the store can't be read.
        """
        now = time.time()
        self.gathered.add(self._counting(self.tail.new()), float("inf") if last else now)
        ours, theirs = self.gathered.counts
        if not ours + theirs:
            return msgspec.structs.replace(nothing_yet("no request of both arms is recorded yet"), time=now)
        comparison = compare(*self.gathered.arms(), self.plan)
        return Standing(comparison, ours, theirs, self.gathered.disagreed, now)

    def _counting(self, records: list[Record]) -> list[Record]:
        """The records that count: without a beginning that was said, those after the challenger's first."""
        if self._begun:
            return records
        self._before += records
        theirs = [_end(record) for record in self._before if record.arm is self.gathered.challenger]
        if not theirs:
            return []
        self._begun, first = True, min(theirs)
        counting, self._before = [record for record in self._before if _end(record) > first], []
        return counting


def look_once(task: Task) -> Standing:
    """How a rollout stands by what is recorded by now.

    Raises:
        OSError: when the store can't be read.
    """
    standing = Analysis(task).look(last=True)
    return with_requests(msgspec.structs.replace(standing, ended="it was looked at once"), task.settings, task.since)


def _end(record: Record) -> float:
    return record.time + record.stages.total


def run(task: Task, say: Callable[[Standing], None], stop: threading.Event, endpoint: Endpoint | None = None) -> None:
    """Look again and again until it ends; every standing is said, the last one with why it is the last."""
    analysis = Analysis(task)
    deadline = time.monotonic() + (float("inf") if task.seconds is None else task.seconds)
    while True:
        began, stopped = time.monotonic(), stop.is_set()  # what comes from now on is for the next look
        last = stopped or began >= deadline
        if last:
            time.sleep(task.settling)
        standing = _looked(analysis, last=last)
        if standing is not None:
            ended = _why_it_ends(standing, task.plan, stopped=stopped, late=last)
            if ended:
                standing = with_requests(msgspec.structs.replace(standing, ended=ended), task.settings, task.since)
            say(standing)
            if endpoint is not None:
                endpoint.standing = standing
            if ended:
                return
        elif last:
            say(
                msgspec.structs.replace(nothing_yet("the store could not be read"), ended="the store could not be read")
            )
            return
        took = time.monotonic() - began
        stop.wait(min(max(task.every, REST * took), max(0.0, deadline - time.monotonic())))


def _looked(analysis: Analysis, *, last: bool) -> Standing | None:
    try:
        return analysis.look(last=last)
    except OSError as error:
        logger.warning("the store could not be read: %s", error)
        return None


def _why_it_ends(standing: Standing, plan: Plan, *, stopped: bool, late: bool) -> str:
    if standing.decided:
        return "decided"
    if plan.at_most is not None and standing.comparison.after >= plan.at_most:
        return f"{plan.at_most} requests were looked at"
    if stopped:
        return "it was interrupted"
    return "its time is over" if late else ""


def main() -> None:
    """Be the process."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    stop = threading.Event()
    heed_sigterm(stop.set)
    encode = msgspec.json.Encoder().encode

    def say(standing: Standing) -> None:
        sys.stdout.buffer.write(encode(standing) + b"\n")
        sys.stdout.buffer.flush()

    with Endpoint.of(task.host, task.port) as endpoint:
        run(task, say, stop, endpoint)
        if endpoint is not None:
            stop.wait()


if __name__ == "__main__":
    main()
