"""Trainings as Ray actors, on this machine or on the cluster that RAY_ADDRESS names.

The target's file must be there too.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any, Self

from firstfault.ablation.sweeps.engine import Engine, Host, Origin, threads_for
from firstfault.ablation.sweeps.job import Job, Measured
from firstfault.errors import FirstfaultError, TargetError
from firstfault.extras import needs_extra

STORE_BYTES = 100 * 2**20
"""Memory for what actors share, jobs and scores: Ray's least is 75 MiB, its default 30 % of the machine's memory."""


def expect_ray() -> ModuleType:
    """Ray's module.

    Raises:
        PrerequisiteError: when it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # type: ignore[import-not-found]
    except ImportError as error:
        raise needs_extra("ray", "--engine ray") from error
    return ray


class OnRay(Engine):
    """A crew of actors; a Ray that this starts is stopped at the end."""

    def __init__(self, origin: Origin, count: int) -> None:
        super().__init__(count)
        self.ray, self.origin = expect_ray(), origin
        self._own = False
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, Job]] = {}

    @property
    def busy(self) -> int:
        """How many trainings run."""
        return len(self._running)

    def begin(self, job: Job) -> None:
        """Give a job to an idle actor; an actor is made when it is first needed."""
        made = self.ray.remote(Host).options(num_cpus=1)
        actor = self._idle.pop() if self._idle else made.remote(self.origin, threads_for(self.count))
        self._running[actor.do.remote(job)] = (actor, job)

    def ended(self) -> list[tuple[Job, Measured | None]]:
        """Wait until at least one training has ended.

        Raises:
            TargetError: when an actor can't load the target.
        """
        done, _ = self.ray.wait(list(self._running), num_returns=1)
        return [self._heard(reference) for reference in done]

    def _heard(self, reference: Any) -> tuple[Job, Measured | None]:
        actor, job = self._running.pop(reference)
        try:
            word, value = self.ray.get(reference)
        except self.ray.exceptions.RayActorError:
            return job, None
        if word == "refused":
            raise TargetError(f"a Ray worker can't train the target: {value}")
        if word == "broken":
            raise RuntimeError(f"an actor failed itself:\n{value}")
        self._idle.append(actor)
        return job, value

    def __enter__(self) -> Self:
        self._own = not self.ray.is_initialized()
        if self._own:
            address = os.environ.get("RAY_ADDRESS")
            here = (
                {}
                if address
                else {"num_cpus": self.count, "object_store_memory": STORE_BYTES, "include_dashboard": False}
            )
            try:
                self.ray.init(address=address, log_to_driver=False, logging_level="ERROR", **here)
            except Exception as error:
                raise FirstfaultError(
                    f"Ray must start{f' at {address}' if address else ''}, but: {str(error).splitlines()[0]}"
                ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self.ray.shutdown()
        else:
            for actor in [*self._idle, *(actor for actor, _ in self._running.values())]:
                self.ray.kill(actor)
