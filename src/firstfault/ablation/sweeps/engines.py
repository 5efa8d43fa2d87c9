"""Where the trainings of a sweep run: in this process, in threads of it, in processes of their own, or on Ray.

Engine ── Threads     share the subject, and torch's random generator
       ├─ Processes   (workers.py) each loads the target anew
       └─ OnRay       (ray_engine.py) the same, on any machine of a Ray cluster
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from firstfault.ablation.sweeps.engine import Engine, Origin
from firstfault.ablation.sweeps.job import Job, Measured, Measuring

ENGINES = ("threads", "processes", "ray")


def drive(engine: Engine, ask: Callable[[], Job | None], tell: Callable[[Job, Measured | None], None]) -> None:
    """Give every free worker what `ask` gives, until it gives None, and hand each result to `tell`."""
    more = True
    while more or engine.busy:
        while more and engine.free:
            job = ask()
            if job is None:
                more = False
            else:
                engine.begin(job)
        if engine.busy:
            for job, measured in engine.ended():
                tell(job, measured)


class Threads(Engine):
    """One training at a time in this thread, or several in threads that share torch's random generator."""

    def __init__(self, measure: Measuring, count: int) -> None:
        super().__init__(count)
        self.measure = measure
        self._pool = ThreadPoolExecutor(count) if count > 1 else None
        self._running: dict[Future[Measured], Job] = {}

    @property
    def busy(self) -> int:
        """How many trainings run."""
        return len(self._running)

    def begin(self, job: Job) -> None:
        """Begin a training; without a pool, it has ended when this returns."""
        if self._pool is not None:
            self._running[self._pool.submit(self.measure, job)] = job
            return
        done: Future[Measured] = Future()
        done.set_result(self.measure(job))
        self._running[done] = job

    def ended(self) -> list[tuple[Job, Measured | None]]:
        """Wait until at least one training has ended."""
        done, _ = concurrent.futures.wait(self._running, return_when=concurrent.futures.FIRST_COMPLETED)
        return [(self._running.pop(future), future.result()) for future in done]

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def engine_of(name: str, count: int, measure: Measuring, origin: Origin | None) -> Engine:
    """The engine of that name with that many workers.

    Raises:
        PrerequisiteError: when it is not installed.
        ValueError: for one that needs an origin without having one.
    """
    if name == "threads":
        return Threads(measure, count)
    if origin is None:
        raise ValueError(
            f"engine {name!r} loads the target in other processes: hand over `origin`, the RunRef of a target's file"
        )
    if name == "processes":
        from firstfault.ablation.sweeps.workers import Processes

        return Processes(origin, count)
    from firstfault.ablation.sweeps.ray_engine import OnRay

    return OnRay(origin, count)
