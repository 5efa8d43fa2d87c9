"""Faults of how it runs: time and memory. They show in the stages' times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from monitoring.served.bases import Base
from monitoring.served.load import MEBIBYTE
from monitoring.served.plan import ALL, Change, Kind, kind
from monitoring.served.populations import Rng
from monitoring.served.server import healthy

WORDS = "the customer wrote before that nothing of this has ever been a matter of concern and we looked at it again "


def latency_regression(base: Base, rng: Rng) -> Change:
    """A stage of a new version takes longer, whatever it is asked; or what it waits for does."""
    if rng.random() < 0.3:
        wait = float(rng.uniform(1.0, 4.0))
        return Change(
            load=lambda load: replace(load, downstream=wait * (load.model + load.preprocess)), told="downstream"
        )
    stage, factor = str(rng.choice(["model", "preprocess"])), float(rng.uniform(2.0, 4.0))
    return Change(
        load=lambda load: replace(load, **{stage: getattr(load, stage) * factor}),
        server=replace(healthy(base), version="8"),
    )


def cpu_throttled(base: Base, rng: Rng) -> Change:
    """The cgroup's quota is too small, now and then that of one replica alone."""
    share, some = float(rng.uniform(0.25, 0.6)), int(rng.random() < 0.5)
    told = "one replica" if some else ""
    return Change(load=lambda load: replace(load, throttled=share, throttled_replicas=some), told=told)


def queue_saturation(base: Base, rng: Rng) -> Change:
    """More comes than can be answered: a burst, or fewer replicas."""
    if rng.random() < 0.5:
        factor = float(rng.uniform(2.6, 3.6))
        return Change(load=lambda load: replace(load, rate=load.rate * factor))
    return Change(load=lambda load: replace(load, replicas=1), told="one replica is left")


def cold_start(base: Base, rng: Rng) -> Change:
    """Processes that are ended and begun again and again, each slow at first."""
    seconds, every = float(rng.uniform(0.3, 1.0)), int(rng.integers(40, 120))
    return Change(load=lambda load: replace(load, cold=seconds, restarts=every))


def payload_growth(base: Base, rng: Rng) -> Change:
    """Requests get longer, and their time with them."""
    times = int(rng.integers(15, 60))
    name = "text" if base.kind == "texts" else "notes"

    def grown(raw: list[Any], rng: Rng) -> list[Any]:
        return [{**row, name: row.get(name, "") + " " + WORDS * int(rng.integers(times // 2, times))} for row in raw]

    return Change(raw=grown)


def thread_oversubscription(base: Base, rng: Rng) -> Change:
    """Each process starts a thread per core, and they wait for each other."""
    factor, more = float(rng.uniform(1.8, 3.5)), float(rng.uniform(3, 6))
    return Change(load=lambda load: replace(load, contention=factor, cpu=load.cpu * more, spread=0.5))


def blocking_telemetry(base: Base, rng: Rng) -> Change:
    """A logger sends each line over the network before the answer leaves: time within no stage."""
    factor = float(rng.uniform(0.8, 2.5))
    return Change(load=lambda load: replace(load, outside=factor * (load.model + load.preprocess)))


def memory_growth(base: Base, rng: Rng) -> Change:
    """A process that grows with each request, and gets slower."""
    leak, slows = int(rng.uniform(1, 3) * MEBIBYTE), float(rng.uniform(1.0, 2.0))
    return Change(load=lambda load: replace(load, leak=leak, leak_slows=slows))


def _latency(id_: str, plan: Any, bases: tuple[str, ...] = ALL, **settings: Any) -> Kind:
    return kind(id_, "deployment", plan, bases, shown="latency", hurts=0.0, **settings)


LOAD: tuple[Kind, ...] = (
    _latency("latency_regression", latency_regression),
    _latency("cpu_throttled", cpu_throttled),
    _latency("queue_saturation", queue_saturation, busy=True),
    _latency("cold_start", cold_start),
    _latency("payload_growth", payload_growth, ("adult", "sensors", "demand")),
    _latency("thread_oversubscription", thread_oversubscription),
    _latency("blocking_telemetry", blocking_telemetry, faults=("latency_regression",)),
    _latency("memory_growth", memory_growth),
)
"""Payloads of texts are left out: a text of another length is another text for the model too."""
