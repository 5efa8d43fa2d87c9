"""What only looks like an incident: nothing of it is a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from monitoring.served.bases import IGNORED, Base
from monitoring.served.plan import ALL, Change
from monitoring.served.populations import Array, Rng
from monitoring.served.server import healthy
from monitoring.served.serving_faults import taught


@dataclass(frozen=True)
class LookAlike:
    """A kind of healthy stream."""

    id: str
    bases: tuple[str, ...]
    plan: Callable[[Base, Rng], Change]
    weeks: int = 0
    """Of which it consists, with shares that follow the hour of the week."""
    streamed: bool = False
    """Whether answers go out in parts, so that a client can be slow to take them."""


def promotion(base: Base, rng: Rng) -> Change:
    """More requests, with another mix of those that always came."""
    shares = other_shares(base, rng, float(rng.uniform(0.25, 0.6)))
    factor = float(rng.uniform(1.3, 3.0))
    return Change(shares=shares, load=lambda load: replace(load, rate=load.rate * factor))


def other_shares(base: Base, rng: Rng, part: float) -> Array:
    """The usual shares of the segments, of which a part moves to one of them."""
    shares = base.population.shares
    more = np.zeros(len(shares))
    more[int(rng.integers(len(shares)))] = 1.0
    return (1 - part) * shares + part * more  # type: ignore[no-any-return]


def season(base: Base, rng: Rng) -> Change:
    """Nothing changes but what changes every week."""
    return Change()


def ignored_drift(base: Base, rng: Rng) -> Change:
    """A column drifts far away at which the model does not look."""
    name = str(rng.choice(IGNORED[base.name]))
    values = base.train[name]
    if name == "race":
        only = str(rng.choice(values.unique()))
        return Change(
            raw=lambda raw, rng: [{**row, name: only} for row in raw],
            part=float(rng.uniform(0.5, 1.0)),
            told=f"race = {only}",
        )
    factor, constant = float(rng.choice([0.01, 3.0, 100.0])), bool(rng.random() < 0.3)
    return Change(
        raw=lambda raw, rng: [
            {**row, name: 0 if constant else round(row[name] * factor + float(values.std()), 3)} for row in raw
        ],
        told=name,
    )


def new_category(base: Base, rng: Rng) -> Change:
    """A country or a shop that did not come before, and for which the answers are as right as for any other."""
    if base.name == "demand":
        return Change(raw=lambda raw, rng: [{**row, "lot": f"B-{row['lot']}"} for row in raw], part=0.3)
    country = str(rng.choice(["Kosovo", "Kenya", "Iceland"]))
    return Change(
        raw=lambda raw, rng: [{**row, "native_country": country} for row in raw], part=float(rng.uniform(0.05, 0.15))
    )


def better_challenger(base: Base, rng: Rng) -> Change:
    """A canary that was trained for longer, and answers a part of the requests a little better and sooner."""
    better = taught(base, rng, rows=4_000, epochs=2, begin=base.model)
    return Change(canary=float(rng.uniform(0.1, 0.5)), canary_server=replace(healthy(base), model=better, version="8"))


def slow_client(base: Base, rng: Rng) -> Change:
    """Clients on bad lines take their answers slowly; the server was as quick as ever."""
    seconds = float(rng.uniform(0.3, 2.0))
    return Change(load=lambda load: replace(load, client=seconds))


def nothing(base: Base, rng: Rng) -> Change:
    """Nothing happens."""
    return Change()


TABLES_WITH_MORE: tuple[str, ...] = tuple(IGNORED)
LOOK_ALIKES: tuple[LookAlike, ...] = (
    LookAlike("season", ALL, season, weeks=3),
    LookAlike("promotion", ("adult", "sensors", "demand", "digits", "tickets"), promotion),
    LookAlike("ignored_drift", TABLES_WITH_MORE, ignored_drift),
    LookAlike("new_category", ("adult", "demand"), new_category),
    LookAlike("better_challenger", ALL, better_challenger),
    LookAlike("slow_client", ALL, slow_client, streamed=True),
    LookAlike("nothing", ALL, nothing),
)
