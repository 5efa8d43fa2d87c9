"""How long the stages take. Needs the sample.

Where stages are measured, the whole is not looked at: a client that sends slowly is nobody's incident. What no stage
explains is looked at by its median, which a few slow clients don't move.
"""

from __future__ import annotations

import numpy as np

from firstfault.metrics import Array
from firstfault.monitor.detect.batch import Batch
from firstfault.monitor.detect.bets import coin_bets, rank_bets
from firstfault.monitor.detect.monitor import CoinMonitor, Monitor, RankMonitor, enough, sorted_known
from firstfault.monitor.detect.season import season_of_rate
from firstfault.monitor.record import STAGES

FEWEST = 100
"""Times of a stage, for its 99th percentile."""
SHORTEST = 0.0005
"""Half a millisecond more is nobody's incident."""
SEVERAL_AT_ONCE = 0.25
"""Deviations that latencies may be off by: they come in bursts, as a machine is busy or not."""
FAR, FAR_LEAST = 3.0, 0.005
"""A stage is far too slow beyond so many times the 99th percentile that is usual, which one in 200 may be."""
MATERIAL = 0.1
"""Of the whole, so much more outside of the stages is nobody's incident."""
MOST_ABOVE = 0.65
"""Of what no stage explains, so many may be above the usual median."""
MOST_WAITING, WAITING_OFTENER = 0.05, 2.0
"""One request in twenty may wait for as long as it takes to answer one, or twice as many as usual: they come in bursts.

With 2, none of 25 simulated services at a quarter to half of their use had a false incident in 9,500 requests; with 1,
two of ten had.
"""


def latencies(reference: Batch, slower: float, shift: float, seasonal: bool) -> list[Monitor]:
    """The monitors of stages, and of what no stage explains."""
    sample = reference.part(reference.uniform)
    stages = [stage for stage in STAGES if enough(sample.seconds(stage), FEWEST)]
    found: list[Monitor] = []
    if stages:
        found.append(_of_stages(sample, stages, slower, shift))
    if worked := [stage for stage in stages if stage != "queue"]:
        found.append(_of_ends(sample, worked))
    if "queue" in stages:  # a wait far beyond the usual ones is nothing where most wait for nothing
        found.append(_of_waits(sample))
    if enough(sample.seconds("total"), FEWEST):
        found.append(_of_rest(sample, "rest" if stages else "total", slower, seasonal))
    return found


def _of_stages(sample: Batch, stages: list[str], slower: float, shift: float) -> RankMonitor:
    def seen(batch: Batch) -> Array:
        """The seconds of each stage, as long as they may be taken off."""
        return np.stack([batch.seconds(stage) for stage in stages], axis=1)

    reference = tuple(sorted_known(sample.seconds(stage)) * slower + SHORTEST for stage in stages)
    bets = tuple(rank_bets(len(values), shift + SEVERAL_AT_ONCE, "up") for values in reference)
    words = "{place} takes {now:.3g} s where at most {usual:.3g} s are usual"
    return RankMonitor("latency", 2.0, tuple(stages), seen, reference, bets, words=words)


def _of_ends(sample: Batch, stages: list[str]) -> CoinMonitor:
    """How often a stage is far too slow, as a process is that has just begun."""
    limits = np.array([FAR * np.nanquantile(sample.seconds(stage), 0.99) + 20 * SHORTEST for stage in stages])

    def seen(batch: Batch) -> Array:
        values = np.stack([batch.seconds(stage) for stage in stages], axis=1)
        return np.where(np.isnan(values), np.nan, values > limits)

    happened = seen(sample)
    sizes = (~np.isnan(happened)).sum(0)
    pairs = zip(happened.T, sizes, strict=True)
    bets = tuple(coin_bets(float(np.nansum(each)), float(size), least=FAR_LEAST) for each, size in pairs)
    words = "{place} takes far too long at {now:.1%} of the requests, where {usual:.1%} may"
    return CoinMonitor("latency", 1.0, tuple(stages), seen, bets, words=words)


def _of_waits(sample: Batch) -> CoinMonitor:
    """How often a request waits as long as the one before it takes: most wait for nothing, so that no median tells."""
    limit = float(np.nanmedian(sample.seconds("total") - sample.seconds("queue"))) + SHORTEST

    def seen(batch: Batch) -> Array:
        values = batch.seconds("queue")
        return np.where(np.isnan(values), np.nan, values > limit)[:, None]

    values = seen(sample)[:, 0]
    often, size = float(np.nansum(values)), float((~np.isnan(values)).sum())
    bets = coin_bets(often, size, least=max(MOST_WAITING, WAITING_OFTENER * often / size))
    words = f"{{now:.0%}} of the requests wait for more than {limit:.3g} s in the queue, where {{usual:.0%}} may"
    return CoinMonitor("latency", 1.0, ("queue",), seen, (bets,), words=words)


def _of_rest(sample: Batch, stage: str, slower: float, seasonal: bool) -> CoinMonitor:
    material = MATERIAL * float(np.nanmedian(sample.seconds("total"))) if stage == "rest" else 0.0
    limit = float(np.nanmedian(sample.seconds(stage))) * slower + max(SHORTEST, material)

    def seen(batch: Batch) -> Array:
        values = batch.seconds(stage)
        return np.where(np.isnan(values), np.nan, values > limit)[:, None]

    values = seen(sample)[:, 0]
    bets = coin_bets(float(np.nansum(values)), float((~np.isnan(values)).sum()), least=MOST_ABOVE)
    place = "the whole request" if stage == "total" else "outside of the stages"
    words = f"{{now:.0%}} of the requests take more than {limit:.3g} s {place}, where {{usual:.0%}} may"
    seasons = (season_of_rate(values, sample.hours),) if seasonal else ()
    return CoinMonitor("latency", 1.0, (stage,), seen, (bets,), seasons=seasons, words=words)
