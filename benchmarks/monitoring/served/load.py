"""How long requests take: replicas with a queue each, whose stages take their time by size, by what else runs, by age.

Simulated, since a stream of a day has to pass in seconds, and since this machine's own load is no part of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from firstfault.monitor.record import Resources
from monitoring.served.populations import Array, Rng

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Load:
    """How a service runs. Seconds, requests per second, bytes."""

    rate: float = 2.0
    replicas: int = 3
    validate: float = 0.0004
    preprocess: float = 0.002
    model: float = 0.008
    postprocess: float = 0.0005
    per_kilobyte: float = 0.001
    """Seconds that the model takes longer for each KiB of a request."""
    spread: float = 0.25
    """Of the logarithm of each stage's time."""
    cpu: float = 0.3
    rss: int = 400 * MEBIBYTE
    leak: int = 0
    """Bytes that a process grows by with each request."""
    leak_slows: float = 0.0
    """Share of its time that a request takes longer for each GiB that the process grew."""
    throttled: float = 0.0
    """Share of the periods in which the cgroup may not run."""
    throttled_replicas: int = 0
    """How many of the replicas that is so for; 0 means all."""
    downstream: float = 0.0
    """Seconds on average for which preparing waits for another service, a store of features or a database."""
    contention: float = 1.0
    """How many times the model's time is, since its threads wait for each other."""
    outside: float = 0.0
    """Seconds between the stages, in which something else is waited for, such as a logger."""
    cold: float = 0.0
    """Seconds that the first request of a process takes longer; then less and less over a dozen requests."""
    restarts: int = 0
    """Requests after which a process begins anew."""
    client: float = 0.0
    """Seconds that a client takes to take its answer, on average."""


@dataclass
class Times:
    """What was measured of some requests: seconds by stage, and the process's resources."""

    stages: list[dict[str, float]]
    total: Array
    resources: list[Resources]
    replica: Array
    waited: Array
    """Seconds for which the client let the answer wait."""


def arrivals(rng: Rng, began: float, n: int, rate: float) -> Array:
    """Times of requests that come independently of each other."""
    return began + np.cumsum(rng.exponential(1 / rate, n))


class Service:
    """Replicas that answer one request at a time each, and remember how busy they are and how old."""

    def __init__(self, rng: Rng, load: Load) -> None:
        self.rng, self.load = rng, load
        self.free = np.zeros(load.replicas)
        self.answered = np.zeros(load.replicas, dtype=int)
        self.grown = np.zeros(load.replicas)

    def change(self, load: Load) -> None:
        """Go on under another load; where processes start cold, they are new ones."""
        if load.replicas != self.load.replicas:
            self.free = np.resize(self.free, load.replicas)
            self.answered, self.grown = np.resize(self.answered, load.replicas), np.resize(self.grown, load.replicas)
        if load.cold:
            self.answered[:], self.grown[:] = 0, 0.0
        self.load = load

    def run(self, at: Array, size: Array) -> Times:
        """The times of requests that arrive at `at` with `size` bytes."""
        load, rng, n = self.load, self.rng, len(at)
        noise = np.exp(rng.normal(0, load.spread, (n, 4)) - load.spread**2 / 2)
        base = np.array([load.validate, load.preprocess, load.model, load.postprocess]) * noise
        base[:, 2] = (base[:, 2] + load.per_kilobyte * size / 1024) * load.contention
        if load.downstream:
            base[:, 1] += rng.gamma(2, load.downstream / 2, n)
        replica = rng.integers(0, load.replicas, n)
        stopped = (rng.random(n) < load.throttled) & self._is_throttled(replica)
        waited = rng.exponential(load.client, n) if load.client else np.zeros(n)
        outside = rng.gamma(2, load.outside / 2, n) if load.outside else np.zeros(n)
        stages, total, resources = [], np.zeros(n), []
        for row in range(n):
            own = base[row] * self._slower(replica[row], stopped[row])
            measured, total[row] = self._one(replica[row], at[row], own, outside[row])
            total[row] += waited[row]
            stages.append(measured)
            resources.append(self._resources(replica[row]))
        return Times(stages, total, resources, replica, waited)

    def _is_throttled(self, replica: Array) -> Array:
        return np.asarray(replica < (self.load.throttled_replicas or self.load.replicas))

    def _slower(self, replica: int, stopped: bool) -> Any:
        factor = 1 + self.load.leak_slows * self.grown[replica] / 1024 / MEBIBYTE
        return factor * (self.rng.uniform(2.5, 6) if stopped else 1.0)

    def _one(self, replica: int, at: float, own: Array, outside: float) -> tuple[dict[str, float], float]:
        load = self.load
        begin = max(at, self.free[replica])
        age = self.answered[replica]
        own[2] += load.cold * 0.7**age if load.cold else 0.0
        spent = float(own.sum() + outside)
        self.free[replica] = begin + spent
        self.answered[replica] += 1
        self.grown[replica] += load.leak
        if load.restarts and self.answered[replica] >= load.restarts:
            self.answered[replica], self.grown[replica] = 0, 0.0
        names = ("validate", "preprocess", "model", "postprocess")
        measured = {"queue": float(begin - at)} | dict(zip(names, map(float, own), strict=True))
        return measured, float(begin - at) + spent

    def _resources(self, replica: int) -> Resources:
        load, rng = self.load, self.rng
        hit = load.throttled and self._is_throttled(np.array(replica))
        throttled = float(np.clip(rng.normal(load.throttled, 0.03), 0, 1)) if hit else 0.0
        return Resources(
            cpu=round(max(0.01, load.cpu * rng.lognormal(0, 0.1)), 3),
            rss=int(load.rss + self.grown[replica] + rng.normal(0, 2 * MEBIBYTE)),
            throttled=round(throttled, 3),
        )


def drawn_load(rng: Rng, busy: bool) -> Load:
    """A service at rest, or a slow one whose replicas are busy for a quarter to a half of their time.

    Slow, so that its queue is full for minutes: what comes back within half a minute is no incident.
    """
    model = float(rng.uniform(0.2, 0.6) if busy else rng.uniform(0.004, 0.04))
    load = Load(
        replicas=int(rng.integers(2, 5)),
        model=model,
        preprocess=float(rng.uniform(0.001, 0.006)),
        per_kilobyte=0.25 * model,
    )
    service = load.validate + load.preprocess + load.model + load.postprocess
    use = float(rng.uniform(0.25, 0.5)) if busy else float(rng.uniform(0.01, 0.04))
    return replace(load, rate=use * load.replicas / service)
