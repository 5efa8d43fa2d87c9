"""The slow requests run again, each alone and offline, beside the control's: is it what was asked that takes long?"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from firstfault.ablation.compare import compare
from firstfault.ablation.replay.folds import unproven
from firstfault.checks.deployment._latency import FEWEST, Latency
from firstfault.checks.deployment._slow_causes import EXPLAINS
from firstfault.errors import Missing
from firstfault.metrics import Array
from firstfault.subject.incident import Request
from firstfault.subject.offline import Offline, offline
from firstfault.subject.subject import Subject
from firstfault.verdict import Outcome, Swap

MOST, TIMES = 40, 3
"""Requests of each side, and how often each is run: the fastest time is that in which nobody else had the machine."""
PARTS = 4
"""Ten requests in each: enough for a mean, and for a p-value."""
CHANGE, METRIC = "the slow requests run again, each alone and offline", "times the control's seconds"


def undo_alone(subject: Subject, found: Latency, fault: str) -> Outcome:
    """Whether slow requests are as fast as the control's where nothing but them and the target's own code runs."""
    slow = np.flatnonzero(found.seconds > np.median(found.usual))
    slow = slow[np.argsort(-found.seconds[slow], kind="stable")]
    try:
        truth = offline(subject)
        rows = [row for row in slow if found.now.all[row].raw is not None][:MOST]
        beside = [request for request in found.before.all if request.raw is not None]
        if min(len(rows), len(beside)) < FEWEST:
            raise Missing("too few of the slow requests were recorded to run them again")
        now, before = _seconds(truth, [found.now.all[row] for row in rows], beside[-len(rows) :])
    except Missing as reason:
        return unproven(fault, str(reason), undecided=False)
    served, alone = found.seconds[rows] / found.usual.mean(), now / before.mean()
    parts = np.array_split(np.random.default_rng(0).permutation(len(rows)), PARTS)
    pairs = [(float(served[part].mean()), float(alone[part].mean())) for part in parts]
    result = compare([-one for one, _ in pairs], [-two for _, two in pairs], "mae")  # fewer times are better
    swap = Swap(
        CHANGE, METRIC, -result.before, -result.after, result.seeds, result.p_value, over="parts of the requests"
    )
    if result.gain < EXPLAINS * (-result.before - 1):
        return Outcome(fault, False, swap, "alone they take long, too: it is what they ask")
    if result.better:
        return Outcome(fault, True, swap, "it is not what they ask that takes long, but what answered them")
    return unproven(fault, "run again alone, their seconds scatter too much to tell", undecided=False)


def _seconds(truth: Offline, slow: Sequence[Request], usual: Sequence[Request]) -> tuple[Array, Array]:
    """The seconds of both sides, one request by the other's side, so that what else runs here slows both."""
    found = np.full((2, len(slow), TIMES), np.nan)
    for again in range(TIMES):
        for place in range(len(slow)):
            found[0, place, again] = _run(truth, slow[place])
            found[1, place, again] = _run(truth, usual[place % len(usual)])
    return found[0].min(1), found[1].min(1)


def _run(truth: Offline, request: Request) -> float:
    began = time.perf_counter()
    truth.outputs(truth.prepared(list(request.raw or ())))
    return time.perf_counter() - began
