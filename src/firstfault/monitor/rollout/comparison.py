"""Champion and challenger compared by their recorded outcomes: what can be concluded, after how many requests."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.rollout.blocks import log_e_of_blocks
from firstfault.monitor.rollout.evidence import Side, coin, first_passing, rate_below
from firstfault.monitor.rollout.outcomes import CUTS, Outcomes
from firstfault.monitor.rollout.plan import Mode, Plan
from firstfault.monitor.rollout.shares import log_e_of_shares
from firstfault.monitor.rollout.streams import Stream, of_arms, of_pairs
from firstfault.monitor.rollout.tosses import Tosses, tosses_of

SHOWN = 10
"""Requests that show a conclusion: as many as a person reads."""
NOT_PLANNED = "not as planned"
MISMATCH = "sample_ratio_mismatch"
IN_A_BLOCK = 8
"""The sizes of blocks follow from the shares at the moment when both arms have so many requests."""


class Conclusion(StrEnum):
    """What is concluded of the challenger."""

    BETTER = "better"
    WORSE = "worse"
    NO_WORSE = "no_worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Evidence:
    """What one test says: of which measure, for which claim, its e-value where it ended, and where it passed."""

    measure: str
    claim: str
    e_value: float
    needed: float
    passed_after: int | None


@dataclass(frozen=True)
class Comparison:
    """What was concluded, after how many requests, why, and by which evidence."""

    conclusion: Conclusion
    after: int
    why: str
    evidence: tuple[Evidence, ...] = ()
    rates: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Of each measure: the champion's and the challenger's rate of what is bad, over all; None without any."""
    requests: tuple[str, ...] = ()
    """Up to ten of the challenger's that show it."""
    first_cut: str | None = None
    """In shadow mode: the first cut at which the arms differ on these requests."""
    fault: str | None = None
    """Why nothing could be concluded, where that is a fault: `sample_ratio_mismatch`."""
    shown: tuple[dict[str, Any], ...] = ()
    """What was recorded of these requests, where there are records."""

    def to_json(self) -> dict[str, Any]:
        """This as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _End:
    conclusion: Conclusion
    after: int
    why: str
    measure: str = ""
    fault: str | None = None


def compare(champion: Outcomes, challenger: Outcomes, plan: Plan) -> Comparison:
    """Look at the requests one by one, and end at the first that lets something be concluded.

    Raises:
        FirstfaultError: where the outcomes don't fit the plan.
    """
    paired = plan.mode is Mode.SHADOW
    stream = of_pairs(champion, challenger, plan) if paired else of_arms(champion, challenger, plan)
    stream = stream.first(plan.at_most or len(stream.ids))
    mismatch = [] if paired or plan.share is None else [_mismatch(stream, plan.share, plan.alpha)]
    evidence = [*mismatch, *_tests(stream, plan)]
    end = _end(evidence, list(stream.bad), len(stream.ids), plan)
    shown = _shown(stream, end) if end.conclusion is Conclusion.WORSE else ()
    names = tuple(stream.ids[place] for place in shown)
    cut = _first_cut(stream, shown)
    rates = _rates(stream, paired)
    return Comparison(end.conclusion, end.after, end.why, tuple(evidence), rates, names, cut, end.fault)


def _mismatch(stream: Stream, share: float, alpha: float) -> Evidence:
    """Whether the arms got other shares than planned."""
    places = stream.drawn
    arm = stream.arm[places]
    ours = np.cumsum(arm)
    counts = np.stack([np.arange(1, len(arm) + 1) - ours, ours], axis=1)
    draws = Tosses(places + 1, arm)
    return _judged("shares", NOT_PLANNED, log_e_of_shares(counts, [1 - share, share]), draws, alpha)


def _tests(stream: Stream, plan: Plan) -> list[Evidence]:
    """Each measure's tests: worse and better share alpha among the measures; no worse has to pass for all of them."""
    shared, share = plan.alpha / len(stream.bad), plan.fair_share
    found = []
    for name, (champion, challenger) in stream.bad.items():
        if share is None:
            found += _by_blocks(name, (champion, challenger), stream.arm, shared)
            continue
        tosses = tosses_of(champion, challenger, stream.units)
        within = coin(share, Side.BELOW, 1 + plan.margin, likely=1.0)
        for claim, test, alpha in (
            ("worse", coin(share, Side.ABOVE), shared),
            ("better", coin(share, Side.BELOW), shared),
            ("no worse", within, plan.alpha / 2 if plan.negligible else plan.alpha),
        ):
            found.append(_judged(name, claim, test.log_e(tosses.heads, tosses.count), tosses, alpha))
        if plan.negligible:
            found.append(_negligible(name, stream, plan))
    return found


def _negligible(name: str, stream: Stream, plan: Plan) -> Evidence:
    """Whether the challenger's rate is so low that no ratio counts."""
    places = stream.drawn
    if plan.mode is not Mode.SHADOW:
        places = places[stream.arm[places] == 1]
    draws = Tosses(places + 1, stream.bad[name][1][places].astype(int))
    log_e = rate_below(plan.negligible).log_e(draws.heads, draws.count)
    return _judged(name, "negligible", log_e, draws, plan.alpha / 2)


def _by_blocks(name: str, bad: tuple[Array, Array], arm: Array, alpha: float) -> list[Evidence]:
    """Where nobody drew the arms: requests of each in blocks, by what both had when it began."""
    champion, challenger = np.flatnonzero(arm == 0), np.flatnonzero(arm == 1)
    sizes = _block(champion, challenger)
    blocks = min(len(champion) // sizes[0], len(challenger) // sizes[1])
    sides = [
        side[: blocks * size].reshape(blocks, size) for side, size in zip((champion, challenger), sizes, strict=True)
    ]
    counts = [of_arm[side].sum(1) for of_arm, side in zip(bad, sides, strict=True)]
    ends = Tosses(np.maximum(sides[0].max(1, initial=0), sides[1].max(1, initial=0)) + 1, counts[1])
    return [
        _judged(name, claim, log_e_of_blocks(counts[0], counts[1], sizes, side), ends, alpha)
        for claim, side in (("worse", Side.ABOVE), ("better", Side.BELOW))
    ]


def _block(champion: Array, challenger: Array) -> tuple[int, int]:
    """How many requests of each are in a block: one of the rarer arm. It must not change from look to look."""
    known = min(len(champion), len(challenger), IN_A_BLOCK)
    if not known:
        return 1, 1
    end = max(champion[known - 1], challenger[known - 1])
    ours, theirs = int((champion <= end).sum()), int((challenger <= end).sum())
    return max(1, round(ours / theirs)), max(1, round(theirs / ours))


def _judged(measure: str, claim: str, log_e: Array, tosses: Tosses | None, alpha: float) -> Evidence:
    place = first_passing(log_e, alpha)
    after = None if place is None else place + 1 if tosses is None else int(tosses.at[place])
    last = 0.0 if len(log_e) == 0 else float(log_e[-1] if place is None else log_e[place])
    return Evidence(measure, claim, float(np.exp(min(last, 700.0))), 1 / alpha, after)


def _end(evidence: list[Evidence], measures: list[str], n: int, plan: Plan) -> _End:
    """What can be concluded first; what is no worse may turn out better. Shares that are not as planned end it all."""
    never = n + 1
    passed = {(each.measure, each.claim): each.passed_after or never for each in evidence}
    held = {name: min(passed.get((name, claim), never) for claim in ("no worse", "negligible")) for name in measures}
    worse, measure = min((passed[name, "worse"], name) for name in measures)
    better, gained = min((_gained(name, passed[name, "better"], held), name) for name in measures)
    broken, no_worse = passed.get(("shares", NOT_PLANNED), never), max(held.values())
    first = min(broken, worse, better, no_worse)
    if first == never:
        return _End(Conclusion.UNDECIDED, n, _why_open(plan))
    if first == broken:
        why = f"{MISMATCH}: the arms' shares are not as planned, so that nothing else can be concluded"
        return _End(Conclusion.UNDECIDED, first, why, fault=MISMATCH)
    if first == worse:
        return _End(Conclusion.WORSE, first, f"{SAYS[measure]} more often than the champion's", measure)
    if better < broken and better < never:  # no worse is known before better, where it is much better
        why = f"{SAYS[gained]} less often than the champion's, and no measure is worse"
        return _End(Conclusion.BETTER, better, why)
    why = f"no rate of what is bad is above {1 + plan.margin:g} times the champion's"
    if any(passed.get((name, "negligible"), never) < passed[name, "no worse"] for name in measures):
        why += f", or it is below {plan.negligible:g}"
    return _End(Conclusion.NO_WORSE, first, why)


def _gained(name: str, better: int, held: dict[str, int]) -> int:
    """When a measure is better, and every other one no worse."""
    return max([better, *(after for other, after in held.items() if other != name)])


SAYS = {
    "bad": "the challenger's requests go badly",
    "seconds": "the challenger's answers are slow",
    "score": "the challenger's scores are low",
}
"""What a measure says, as the beginning of a sentence."""


def _why_open(plan: Plan) -> str:
    if plan.fair_share is None:
        return "the evidence is not enough; without --share, it can't be shown that a measure is no worse"
    return "the evidence is not enough yet"


def _rates(stream: Stream, paired: bool) -> dict[str, tuple[float | None, float | None]]:
    rates = {}
    for name, (champion, challenger) in stream.bad.items():
        weight = stream.weight if name == "bad" else stream.sampled.astype(float)  # what is bad is known of all
        sides = (weight, weight) if paired else (weight * (stream.arm == 0), weight * (stream.arm == 1))
        rates[name] = _share(champion, sides[0]), _share(challenger, sides[1])
    return rates


def _share(bad: Array, weight: Array) -> float | None:
    """An unbiased share of all requests, from those that are kept."""
    return float(np.average(bad, weights=weight)) if weight.any() else None


def _shown(stream: Stream, end: _End) -> tuple[int, ...]:
    """The last requests before the end that went badly for the challenger, and not for the champion."""
    champion, challenger = stream.bad[end.measure]
    return tuple(int(place) for place in np.flatnonzero((challenger & ~champion)[: end.after])[-SHOWN:])


def _first_cut(stream: Stream, shown: tuple[int, ...]) -> str | None:
    """The first cut at which a pair differs, where both have it."""
    if not stream.cuts:
        return None
    differ = {
        cut
        for place in shown
        for cut in CUTS
        if (pair := [side.get(cut) for side in stream.cuts[place]]) and None not in pair and pair[0] != pair[1]
    }
    return next((cut for cut in CUTS if cut in differ), None)
