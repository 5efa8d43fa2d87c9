"""What every engine of a sweep is: some workers that do jobs, and the target's host in a process of its own."""

from __future__ import annotations

import logging
import os
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

from firstfault.ablation.sweeps.job import Job, Measured, Measuring, failed
from firstfault.ablation.sweeps.storage import Place
from firstfault.runs.ref import RunRef

logger = logging.getLogger(__name__)
Said = tuple[str, Measured | str | int | None]
"""What another process says: a word, and what comes with it."""


@dataclass(frozen=True)
class Origin:
    """How another process comes to the same target: the run to load it by, the digest of its tensors, and the study to
    report to.
    """

    run: RunRef
    digest: str
    place: Place = None
    study: str = ""


class Engine(ABC):
    """At most `count` workers that do jobs; as a context manager, it ends what still runs."""

    def __init__(self, count: int) -> None:
        self.count = count

    @property
    @abstractmethod
    def busy(self) -> int:
        """How many trainings run."""

    @property
    def free(self) -> int:
        """How many more can be begun."""
        return self.count - self.busy

    @abstractmethod
    def begin(self, job: Job) -> None:
        """Give a job to an idle worker, which is made when it is first needed."""

    @abstractmethod
    def ended(self) -> list[tuple[Job, Measured | None]]:
        """Wait until at least one training has ended; a job whose process has died is given with None."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """End what still runs."""


def threads_for(count: int) -> int:
    """Torch's threads for one of that many workers, so that together they have a thread a core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // count)


class Host:
    """The target in a process of its own; it does jobs, and gives a word and a value: measured, refused or broken."""

    def __init__(self, origin: Origin, threads: int) -> None:
        self.origin, self.threads = origin, threads
        self._measure: Measuring | None = None

    def open(self) -> Said:
        """Load the target: `ready`, or `refused` with the sentence that says why."""
        import torch

        from firstfault.errors import FirstfaultError, Missing, UserCodeError

        torch.set_num_threads(min(self.threads, torch.get_num_threads()))
        try:
            self._measure = self._opened()
        except (FirstfaultError, Missing, UserCodeError) as error:
            return "refused", str(error)
        return "ready", os.getpid()

    def do(self, job: Job) -> Said:
        """Do a job: `measured`, as failed where the target can't do it here, or `broken` with the traceback of our own
        failure.
        """
        import traceback

        from firstfault.errors import Missing, UserCodeError
        from firstfault.interrupts import pass_on

        try:
            if self._measure is None and (opened := self.open())[0] == "refused":
                return opened
            assert self._measure is not None
            return "measured", self._measure(job)
        except (Missing, UserCodeError) as reason:
            assert self._measure is not None
            logger.warning("%s, seed %s: %s", job.change, job.seed, reason)
            return "measured", failed(self._measure.bench.recipe)
        except BaseException as error:
            pass_on(error)
            return "broken", traceback.format_exc()

    def _opened(self) -> Measuring:
        from firstfault.ablation.sweeps.job import digest
        from firstfault.ablation.sweeps.search import pruner
        from firstfault.ablation.sweeps.study import follower
        from firstfault.errors import TargetError
        from firstfault.subject.opening import open_subject

        self._folder = tempfile.TemporaryDirectory(prefix="firstfault-worker-")
        subject = open_subject(replace(self.origin.run, folder=self._folder.name))
        if digest(subject.recipe) != self.origin.digest:
            raise TargetError(
                "every process must load the same data, but this target's differ each time; seed its random numbers, "
                "or use --engine threads"
            )
        follow = follower(self.origin.place, self.origin.study, pruner()) if self.origin.study else None
        return Measuring(subject, follow)
