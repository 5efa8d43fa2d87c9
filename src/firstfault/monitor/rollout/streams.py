"""The requests of both arms in one order, with what is bad of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.errors import FirstfaultError
from firstfault.metrics import Array
from firstfault.monitor.rollout.outcomes import Outcomes
from firstfault.monitor.rollout.plan import Plan
from firstfault.monitor.rollout.tosses import beyond, firsts


@dataclass(frozen=True)
class Stream:
    """Requests in their order, with what is bad of each, by measure.

    Where `arm` tells which one answered a request, it can be bad on that side alone; in shadow mode both answered.
    """

    ids: tuple[str, ...]
    arm: Array
    bad: dict[str, tuple[Array, Array]]
    weight: Array
    sampled: Array
    units: Array | None = None
    cuts: tuple[tuple[Any, Any], ...] = ()

    def first(self, n: int) -> Stream:
        """The first `n` requests."""
        bad = {name: (champion[:n], challenger[:n]) for name, (champion, challenger) in self.bad.items()}
        units = None if self.units is None else self.units[:n]
        return Stream(self.ids[:n], self.arm[:n], bad, self.weight[:n], self.sampled[:n], units, self.cuts[:n])

    @property
    def drawn(self) -> Array:
        """The places at which an arm was drawn: of each unit the first, of those in the sample."""
        places = np.flatnonzero(self.sampled)
        return places if self.units is None else places[firsts(self.units[places])]


def of_pairs(champion: Outcomes, challenger: Outcomes, plan: Plan) -> Stream:
    places = {name: place for place, name in enumerate(challenger.ids)}
    both = [(here, places[name]) for here, name in enumerate(champion.ids) if name in places]
    if not both:
        raise FirstfaultError("in shadow mode both files must hold the same requests, but no id is in both")
    a, b = (np.array(side) for side in zip(*both, strict=True))
    bad = {}
    for name, judge in _measures(champion, challenger, plan).items():
        ours, theirs = getattr(champion, name)[a], getattr(challenger, name)[b]
        judged = judge(np.stack([ours, theirs], axis=1).ravel()).reshape(-1, 2)
        both_known = ~(np.isnan(ours) | np.isnan(theirs))
        bad[name] = judged[:, 0] & both_known, judged[:, 1] & both_known
    cuts = tuple((champion.cuts[x], challenger.cuts[y]) for x, y in both) if champion.cuts and challenger.cuts else ()
    ids = tuple(champion.ids[place] for place in a)
    sampled = champion.in_sample[a] & challenger.in_sample[b]
    return Stream(ids, np.zeros(len(a)), bad, champion.weights[a], sampled, cuts=cuts)


def of_arms(champion: Outcomes, challenger: Outcomes, plan: Plan) -> Stream:
    if np.isnan(champion.time).any() or np.isnan(challenger.time).any():
        raise FirstfaultError("each line must have a `time`, since the order of both arms' requests counts")
    time = np.concatenate([champion.time, challenger.time])
    order = np.argsort(time, kind="stable")
    arm = np.repeat([0, 1], [len(champion), len(challenger)])[order]
    bad = {}
    for name, judge in _measures(champion, challenger, plan).items():
        judged = judge(np.concatenate([getattr(champion, name), getattr(challenger, name)])[order])
        bad[name] = judged & (arm == 0), judged & (arm == 1)
    ids = np.array([*champion.ids, *challenger.ids], dtype=object)[order]
    weight = np.concatenate([champion.weights, challenger.weights])[order]
    sampled = np.concatenate([champion.in_sample, challenger.in_sample])[order]
    return Stream(tuple(ids), arm, bad, weight, sampled, _units(champion, challenger, order))


def _units(champion: Outcomes, challenger: Outcomes, order: Array) -> Array | None:
    """A number for each unit; None where each request is one."""
    if not (champion.units and challenger.units):
        return None
    names = [*champion.units, *challenger.units]
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(name, len(numbers)) for name in names]
    return None if len(numbers) == len(names) else np.asarray(found)[order]


def _measures(champion: Outcomes, challenger: Outcomes, plan: Plan) -> dict[str, Callable[[Array], Array]]:
    """What both arms have measured, with what is bad of it."""
    judges: dict[str, Callable[[Array], Array]] = {
        "bad": lambda values: values > 0,
        "seconds": lambda values: beyond(values, plan.quantile, above=True),
        "score": lambda values: beyond(values, 0.5, above=False),
    }
    found = {
        name: judge
        for name, judge in judges.items()
        if (champion.measured(name) or not len(champion)) and (challenger.measured(name) or not len(challenger))
    }
    if not found:
        raise FirstfaultError("both arms must have bad, seconds or score, but none is in both")
    return found
