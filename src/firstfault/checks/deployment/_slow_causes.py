"""What explains the seconds of slow answers: throttling, size, cold starts, waits, threads, memory, clients or logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firstfault.checks.deployment._latency import FEWEST, REST, Latency, growing
from firstfault.metrics import Array
from firstfault.subject.incident import Request, Requests

FIRST = 0.5
"""Of the slow requests, those in such runs: by chance it is a fifth, and of a run that was not kept whole the rest."""
FASTER = 0.75
"""Of the steps within a run of slow requests, those that must be to a faster one where a process warms up."""
EXPLAINS = 0.5
"""Of the seconds that were added."""
THROTTLED, FREE = 0.1, 0.05
"""Of a second, beyond what was usual: so much counts as throttled, and so little as free of it.

Each request has that of its own process, so that one replica among many is found.
"""


@dataclass(frozen=True)
class Cause:
    """A cause of the added seconds: its fault, a sentence, and what the seconds are without it."""

    fault: str
    message: str
    change: str
    without: Array
    """Seconds of the incident's requests, were the cause away; NaN of those for which nobody can tell."""


def causes(latency: Latency) -> list[Cause]:
    """The causes of which evidence was found, those that explain most of the seconds first."""
    looks = (_throttled, _larger, _first_ones, _queued, _threads, _memory, _slow_client, _telemetry)
    found = [cause for look in looks if (cause := look(latency)) is not None]
    return sorted(found, key=lambda cause: bool(cause.fault) and latency.explained(cause.without) < EXPLAINS)


def _throttled(found: Latency) -> Cause | None:
    now, before = found.now.numbers("throttled"), found.before.numbers("throttled")
    if np.isfinite(now).sum() < FEWEST:
        return None
    usual = float(np.nanmean(before)) if np.isfinite(before).any() else 0.0
    hit, free = now > usual + THROTTLED, now <= usual + FREE
    without = np.where(free, found.seconds, np.nan)
    if hit.sum() < FEWEST or (free.sum() >= FEWEST and found.explained(without) < EXPLAINS):
        return None
    some = f" of {hit.mean():.0%} of the requests" if free.any() else ""
    return Cause(
        "cpu_throttled",
        f"the container{some} was throttled for {now[hit].mean():.0%} of the time, {usual:.0%} before",
        f"the {int(free.sum())} requests of seconds without throttling alone",
        without,
    )


def _larger(found: Latency) -> Cause | None:
    now, before = _sizes(found.now.all), _sizes(found.before.all)
    if now is None or before is None or np.median(now) < 1.3 * np.median(before):
        return None
    slope = max(0.0, float(np.polyfit(before, found.usual, 1)[0])) if np.ptp(before) > 0 else 0.0
    own = max(0.0, float(np.polyfit(now, found.seconds, 1)[0])) if np.ptp(now) > 0 else 0.0
    slope = own if slope == 0 or np.corrcoef(before, found.usual)[0, 1] < 0.2 else slope
    without = found.seconds - slope * np.maximum(now - np.median(before), 0.0)
    if found.explained(without) < EXPLAINS:
        return None
    return Cause(
        "payload_growth",
        f"requests are {np.median(now) / max(float(np.median(before)), 1.0):.1f} times as large "
        f"({np.median(now):.0f} bytes at the median, {np.median(before):.0f} before)",
        "each request as large as the control's, at the same seconds per byte",
        np.maximum(without, found.usual.min()),
    )


def _sizes(requests: Sequence[Request]) -> Array | None:
    sizes = np.array([request.size or _weight(request) for request in requests], dtype=float)
    return sizes if len(sizes) >= FEWEST and sizes.max() > 0 else None


def _first_ones(found: Latency) -> Cause | None:
    """Slow answers that are the first of a process: each run of them begins at once, and decays."""
    waits, usual_waits = _waits(found, found.now), _waits(found, found.before)
    own, usual = found.seconds - waits, found.usual - usual_waits
    limit = float(np.quantile(usual, 0.99))
    early = _decaying(found.now.all, own, limit)
    slow = own > 2 * limit
    if early.sum() < 3 or slow.sum() < 3 or early[slow].mean() < FIRST or early.mean() > 0.5:
        return None
    behind = waits > 2 * float(np.quantile(usual_waits, 0.99)) + limit
    return Cause(
        "cold_start",
        f"{early[slow].mean():.0%} of the slow requests are the first of a process, or follow one, each faster "
        "than the one before",
        "the later requests of the same processes alone, and none that waited for the first ones",
        np.where(early | behind, np.nan, found.seconds),
    )


def _waits(found: Latency, requests: Requests) -> Array:
    """Seconds for which each waited for a worker; 0 where that was not measured."""
    return np.asarray(np.nan_to_num(found.stage(requests, "queue")))


def _queued(found: Latency) -> Cause | None:
    queue, before = found.stage(found.now, "queue"), found.stage(found.before, "queue")
    if np.isfinite(queue).sum() < FEWEST or found.where != "queue":
        return None
    usual = float(np.nanmean(before)) if np.isfinite(before).any() else 0.0
    faster = _rate(found.now.all) / max(_rate(found.before.all), 1e-9)
    return Cause(
        "queue_saturation",
        f"requests waited {1e3 * np.nanmean(queue):.3g} ms for a worker, {1e3 * usual:.3g} ms before, at "
        f"{faster:.1f} times the rate",
        "the same requests without their wait",
        found.seconds - queue + usual,
    )


def _threads(found: Latency) -> Cause | None:
    now, before = found.now.numbers("cpu"), found.before.numbers("cpu")
    if np.isfinite(now).sum() < FEWEST or np.isfinite(before).sum() < FEWEST:
        return None
    more = float(np.nanmean(now)) / max(float(np.nanmean(before)), 0.05)
    rate = _rate(found.now.all) / max(_rate(found.before.all), 1e-9)
    if more < 1.5 or rate > 0.7 * more or found.where in ("queue", REST):
        return None
    return Cause(
        "thread_oversubscription",
        f"the process used {np.nanmean(now):.2f} cores, {np.nanmean(before):.2f} before, at {rate:.1f} times the rate",
        "the requests of seconds with the usual use of the CPU alone",
        np.where(now <= np.nanquantile(before, 0.9), found.seconds, np.nan),
    )


def _memory(found: Latency) -> Cause | None:
    rss, times = found.now.numbers("rss"), found.now.numbers("time")
    known = np.isfinite(rss)
    before = found.before.numbers("rss")
    if known.sum() < FEWEST or not np.isfinite(before).any():
        return None
    if not growing(rss[known], times[known], float(np.nanmedian(before))):
        return None
    low = rss <= np.nanmax(before) * 1.1
    return Cause(
        "memory_growth",
        f"memory grew from {rss[known][0] / 1e6:.0f} to {rss[known][-1] / 1e6:.0f} MB, without an end",
        "the requests from before the memory grew alone",
        np.where(low, found.seconds, np.nan),
    )


def _slow_client(found: Latency) -> Cause | None:
    """The rest is longer for a few requests alone: their clients take in or give slowly."""
    if found.where != REST:
        return None
    now, before = found.stage(found.now, REST), found.stage(found.before, REST)
    slow = now > np.nanquantile(before, 0.99) * 2
    if _longer_for_most(now, before) or slow.mean() > 0.5:
        return None
    return Cause(
        "",
        f"the seconds were added outside of every stage, for {slow.mean():.0%} of the requests alone: their "
        "clients are slow",
        "the other requests alone",
        np.where(slow, np.nan, found.seconds),
    )


def _longer_for_most(now: Array, before: Array) -> bool:
    return float(np.nanmedian(now)) > 2 * float(np.nanmedian(before)) + 1e-4


def _telemetry(found: Latency) -> Cause | None:
    if found.where != REST:
        return None
    now, before = found.stage(found.now, REST), found.stage(found.before, REST)
    if not _longer_for_most(now, before):
        return None
    return Cause(
        "blocking_telemetry",
        f"{1e3 * np.nanmedian(now):.3g} ms of each answer lie outside of every stage, "
        f"{1e3 * np.nanmedian(before):.3g} ms before: logging, metrics or another middleware holds it up",
        "the same requests with their stages alone",
        found.seconds - now + float(np.nanmean(before)),
    )


def _decaying(requests: Sequence[Request], seconds: Array, limit: float) -> Array:
    """Which requests belong to a run of slow ones in one process that begins with its slowest, and gets faster."""
    by: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        by.setdefault(request.replica, []).append(place)
    found = np.zeros(len(requests), dtype=bool)
    for places in by.values():
        run: list[int] = []
        ends: list[int | None] = [*places, None]
        for end in ends:
            if end is not None and seconds[end] > limit:
                run.append(end)
                continue
            faster = [seconds[two] < seconds[one] for one, two in zip(run, run[1:], strict=False)]
            if faster and np.mean(faster) >= FASTER:  # by chance, a third of them is
                found[run] = True
            run = []
    return found


def _weight(request: Request) -> float:
    """How much a request asks for, where its bytes are not known: its samples and their texts."""
    if request.raw is None:
        return 0.0
    return float(sum(len(str(value)) for value in request.raw))


def _rate(requests: Sequence[Request]) -> float:
    """Requests a second."""
    if len(requests) < 2:
        return 0.0
    return (len(requests) - 1) / max(requests[-1].time - requests[0].time, 1e-9)
