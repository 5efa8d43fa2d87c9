"""What to label next, chosen by a bandit: requests at which the user's assertions fire, where labels have helped most.

Each assertion is an arm. In the first round all are drawn alike; then an arm is drawn in proportion to how much rarer
its hits have become since the last round, a quarter of the budget going to all alike. Within an arm, a request is drawn
in proportion to the rank of its severity. Where no arm has become rarer by 1 %, the least sure answers are taken, and
all arms alike where nobody knows how sure they were.

Source: Kang, Raghavan, Bailis & Zaharia, Model assertions for monitoring and improving ML models (MLSys 2020),
algorithm 2 (BAL); the shares of 25 % and 1 % are theirs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from firstfault.errors import FirstfaultError
from firstfault.metrics import Array
from firstfault.monitor.assertions import Assertion
from firstfault.monitor.detect.asked import asked
from firstfault.monitor.detect.assertions import output_of
from firstfault.monitor.record import Record
from firstfault.output.whole_files import write_bytes

EXPLORED, LEAST_FALL = 0.25, 0.01
UNSURE = "least sure"
FILE = "to_label.json"


class Round(msgspec.Struct, frozen=True):
    """One round: when it was, which share of the requests each assertion hit, and what was chosen."""

    time: float
    rates: dict[str, float]
    chosen: tuple[str, ...]


class Choice(NamedTuple):
    """A request to be labelled, by which arm it was chosen, and how severe its assertion found it."""

    record: Record
    arm: str
    severity: float


def severities(records: Sequence[Record], assertions: Sequence[Assertion]) -> dict[str, Array]:
    """How severe each assertion finds each record `(N,)`, 0 where it does not fire; what marks say counts as 1."""
    found = {each.name: np.array([each.severity(asked(one), output_of(one)) for one in records]) for each in assertions}
    for name in sorted({mark for record in records for mark in record.marks}):
        found.setdefault(name, np.array([float(name in record.marks) for record in records]))
    return {name: np.nan_to_num(values) for name, values in found.items()}


def choose(
    records: Sequence[Record], found: dict[str, Array], budget: int, rounds: Sequence[Round], rng: np.random.Generator
) -> list[Choice]:
    """The requests that are worth a label most, at most `budget`; none that has one, or was chosen before."""
    before = {name for each in rounds for name in each.chosen}
    free = np.array([one.label is None and one.request_id not in before for one in records], dtype=bool)
    odds = _odds(found, rounds)
    chosen = _from_arms(records, found, free, odds, budget, rng) if odds else []
    chosen += _unsure(records, free, budget - len(chosen))
    return chosen + _from_arms(records, found, free, dict.fromkeys(found, 1.0), budget - len(chosen), rng)


def _from_arms(
    records: Sequence[Record],
    found: dict[str, Array],
    free: Array,
    odds: dict[str, float],
    budget: int,
    rng: np.random.Generator,
) -> list[Choice]:
    """Requests that assertions hit, while there are any; what is taken is free no more."""
    chosen: list[Choice] = []
    while len(chosen) < budget:
        arms = [name for name, values in found.items() if (free & (values > 0)).any()]
        if not arms:
            break
        arm = _arm(arms, odds, rng)
        place = _by_rank(found[arm], free, rng)
        free[place] = False
        chosen.append(Choice(records[place], arm, float(found[arm][place])))
    return chosen


def _odds(found: dict[str, Array], rounds: Sequence[Round]) -> dict[str, float] | None:
    """How much is expected of each arm: alike at first; None where none has become rarer."""
    if not found:
        return None
    if not rounds:
        return dict.fromkeys(found, 1.0)
    now, last = rates(found), rounds[-1].rates
    falls = {name: max(0.0, 1 - now[name] / last[name]) if last.get(name) else 0.0 for name in found}
    return falls if max(falls.values()) >= LEAST_FALL else None


def rates(found: dict[str, Array]) -> dict[str, float]:
    """The share of the requests that each assertion hits."""
    return {name: float((values > 0).mean()) if len(values) else 0.0 for name, values in found.items()}


def _arm(arms: Sequence[str], odds: dict[str, float], rng: np.random.Generator) -> str:
    weights = np.array([odds[name] for name in arms])
    if rng.random() < EXPLORED or not weights.sum():
        return arms[int(rng.integers(len(arms)))]
    return arms[int(rng.choice(len(arms), p=weights / weights.sum()))]


def _by_rank(values: Array, free: Array, rng: np.random.Generator) -> int:
    """One of the free requests that are hit, in proportion to the rank of its severity."""
    hit = np.flatnonzero(free & (values > 0))
    ranks = np.unique(values[hit], return_inverse=True)[1].reshape(-1) + 1.0
    return int(rng.choice(hit, p=ranks / ranks.sum()))


def _unsure(records: Sequence[Record], free: Array, n: int) -> list[Choice]:
    """The least sure answers."""
    known = [place for place in np.flatnonzero(free) if records[place].confidence is not None]
    by_confidence = sorted(known, key=lambda place: records[place].confidence or math.inf)[: max(n, 0)]
    free[by_confidence] = False
    return [Choice(records[place], UNSURE, 1 - (records[place].confidence or 0.0)) for place in by_confidence]


def rounds_of(folder: Path) -> list[Round]:
    """The rounds that a store has seen.

    Raises:
        FirstfaultError: when their file can't be read.
    """
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=list[Round])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FirstfaultError(f"{folder / FILE} must hold the rounds of labelling, but: {error}") from error


def note_round(folder: Path, found: dict[str, Array], chosen: Sequence[Choice]) -> None:
    """Note a round, so that the next one knows what has become rarer."""
    new = Round(time.time(), rates(found), tuple(choice.record.request_id for choice in chosen))
    write_bytes(folder / FILE, msgspec.json.encode([*rounds_of(folder), new]))
