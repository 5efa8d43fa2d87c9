"""Trainings in processes of their own: each loads the target anew, one that dies is replaced, and all end with their
parent.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection, wait

from firstfault.ablation.sweeps.engine import Engine, Host, Origin, Said, threads_for
from firstfault.ablation.sweeps.job import Job, Measured
from firstfault.errors import FirstfaultError, TargetError

CONTEXT = multiprocessing.get_context("spawn")


class Worker:
    """One process, with the job that it does."""

    def __init__(self, origin: Origin, threads: int) -> None:
        self.connection, theirs = CONTEXT.Pipe()
        # no daemon: a loader of the user's may have workers
        self.process = CONTEXT.Process(target=work, args=(origin, threads, theirs))
        self.process.start()
        theirs.close()
        self.ready = False
        self.job: Job | None = None

    def begin(self, job: Job) -> None:
        """Hand a job over; a process that has died is noticed when it should answer."""
        self.job = job
        try:
            self.connection.send(job)
        except OSError:
            return

    def answer(self) -> Said:
        """What the process says: ready, refused, measured, broken, or that it has `died`, with its exit code."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return "died", self.process.exitcode

    def end(self) -> None:
        """End the process: an idle one by itself, since nobody will send a job."""
        self.connection.close()
        if self.job is not None:
            self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Processes(Engine):
    """A crew of workers."""

    def __init__(self, origin: Origin, count: int) -> None:
        super().__init__(count)
        self.origin = origin
        self._workers: list[Worker] = []

    @property
    def busy(self) -> int:
        """How many trainings run."""
        return sum(worker.job is not None for worker in self._workers)

    def begin(self, job: Job) -> None:
        """Give a job to an idle worker; a worker begins when it is first needed."""
        idle = next((worker for worker in self._workers if worker.job is None), None)
        if idle is None:
            idle = Worker(self.origin, threads_for(self.count))
            self._workers.append(idle)
        idle.begin(job)

    def ended(self) -> list[tuple[Job, Measured | None]]:
        """Wait until at least one training has ended.

        Raises:
            TargetError: when a worker can't load the target.
            FirstfaultError: when a worker ended before it had loaded the target.
        """
        while True:
            busy = [worker for worker in self._workers if worker.job is not None]
            ready = wait([worker.connection for worker in busy])
            heard = [self._hear(worker) for worker in busy if worker.connection in ready]
            if done := [entry for entry in heard if entry is not None]:
                return done

    def _hear(self, worker: Worker) -> tuple[Job, Measured | None] | None:
        word, value = worker.answer()
        if word == "ready":
            worker.ready = True
            return None
        if word == "refused":
            raise TargetError(f"a worker process can't train the target: {value}")
        if word == "broken":
            raise RuntimeError(f"a worker process failed itself:\n{value}")
        job, worker.job = worker.job, None
        assert job is not None
        if isinstance(value, Measured):
            return job, value
        self._workers.remove(worker)
        if not worker.ready:
            raise FirstfaultError(
                f"a worker process ended with exit code {value} before it had loaded the target; "
                "a script that sweeps must do so below `if __name__ == '__main__':`"
            )
        return job, None

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()


def work(origin: Origin, threads: int, connection: Connection[Said, Job]) -> None:
    """What a worker process does: load the target, then one job after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _hush()
    host = Host(origin, threads)
    connection.send(opened := host.open())
    while opened[0] == "ready":
        try:
            connection.send(host.do(connection.recv()))
        except (EOFError, OSError):
            return


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _hush() -> None:
    """What the user's code prints would land in the middle of the parent's display."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
