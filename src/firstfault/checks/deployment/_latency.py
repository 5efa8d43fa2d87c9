"""Where the time of an incident's slow answers went, and what explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.subject.incident import STAGES, Evidence, Request, Requests, incident
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

SLOWER = 1.25
"""Times of the control's seconds; less is no incident."""
STAGE_SLOWER = 1.8
"""The same of one stage, which the others may hide."""
SLOW_P = 1e-3
"""Once in a thousand comparisons of equal seconds."""
"""Of the smaller of two tests: by chance, the answers of one healthy incident in 500 are slower."""
REST = "outside of every stage"
FEWEST = 20
"""Requests on each side, below which nothing is said of their seconds: a choice of ours."""
FIRST = 0.5
"""Of the slow requests, those in such runs: by chance it is a fifth, and of a run that was not kept whole the rest."""
FASTER = 0.75
"""Of the steps within a run of slow requests, those that must be to a faster one where a process warms up."""
EXPLAINS = 0.5
"""Of the seconds that were added."""


@dataclass(frozen=True)
class Cause:
    """A cause of the added seconds: its fault, a sentence, and what the seconds are without it."""

    fault: str
    message: str
    change: str
    without: Array
    """Seconds of the incident's requests, were the cause away; NaN of those for which nobody can tell."""


class Latency:
    """The seconds of both sides, in all and by stage."""

    def __init__(self, evidence: Evidence) -> None:
        self.now, self.before = evidence.requests.fair, evidence.control.fair
        self.seconds, self.usual = _own(self.now), _own(self.before)
        self.whole = self.now.numbers("total"), self.before.numbers("total")

    @property
    def slower(self) -> float:
        """How many times the mean of the control's seconds the incident's took."""
        return float(self.seconds.mean() / max(float(self.usual.mean()), 1e-9)) if self.enough else 1.0

    @property
    def enough(self) -> bool:
        """Whether there are enough requests on both sides."""
        return min(len(self.seconds), len(self.usual)) >= FEWEST

    @property
    def p_value(self) -> float:
        """Of both sides being as fast, one-sided: by ranks, or by the shares beyond the control's 95 %."""
        from scipy.stats import fisher_exact, mannwhitneyu

        ranks = float(mannwhitneyu(self.seconds, self.usual, alternative="greater").pvalue)
        limit = np.quantile(self.usual, 0.95)
        tail = [[(each > limit).sum(), (each <= limit).sum()] for each in (self.seconds, self.usual)]
        return min(ranks, float(fisher_exact(tail, alternative="greater").pvalue))

    @property
    def clients(self) -> float:
        """The mean seconds by which clients let ready answers wait longer than before."""
        return float(self.whole[0].mean() - self.seconds.mean() - self.whole[1].mean() + self.usual.mean())

    @property
    def is_slow(self) -> bool:
        """Whether the incident's answers took longer."""
        return self.enough and ((self.slower >= SLOWER and self.p_value < SLOW_P) or bool(self.slow_stage))

    @property
    def slow_stage(self) -> str:
        """A stage that takes twice as long or more, and by that a twentieth of the whole; empty where there is none."""
        from scipy.stats import mannwhitneyu

        for name, more in self.added().items():
            now, before = self.stage(self.now, name), self.stage(self.before, name)
            twice = np.nanmean(now) >= STAGE_SLOWER * np.nanmean(before) and more > 0.05 * self.usual.mean()
            if name != REST and twice and mannwhitneyu(now, before, alternative="greater").pvalue < SLOW_P:
                return name
        return ""

    def stage(self, requests: Any, name: str) -> Array:
        """Seconds of a stage; of what lies outside of every stage, the rest of the total."""
        if name != REST:
            return np.asarray(requests.numbers(name))
        stages = np.stack([requests.numbers(each) for each in STAGES])
        if np.isnan(stages).all():
            return np.full(len(requests), np.nan)
        return np.asarray(_own(requests) - np.nansum(stages, axis=0))

    def added(self) -> dict[str, float]:
        """The mean seconds that each stage took more, the most first."""
        found = {}
        for name in (*STAGES, REST):
            now, before = self.stage(self.now, name), self.stage(self.before, name)
            if np.isfinite(now).sum() >= FEWEST and np.isfinite(before).sum() >= FEWEST:
                found[name] = float(np.nanmean(now) - np.nanmean(before))
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def where(self) -> str:
        """The stage in which most of the added seconds were spent; empty where no stage was measured."""
        added = self.added()
        first = next(iter(added), "")
        return first if first and added[first] > 0 else ""

    def causes(self) -> list[Cause]:
        """The causes of which evidence was found, those that explain most of the seconds first."""
        looks = (
            self._throttled,
            self._larger,
            self._first_ones,
            self._queued,
            self._threads,
            self._memory,
            self._slow_client,
            self._telemetry,
        )
        found = [cause for look in looks if (cause := look()) is not None]
        return sorted(found, key=lambda cause: bool(cause.fault) and self.explained(cause.without) < EXPLAINS)

    def explained(self, without: Array) -> float:
        """The share of the added seconds that is gone with a cause."""
        known = np.isfinite(without)
        if not known.any():
            return 0.0
        added = float(self.seconds.mean() - self.usual.mean())
        return float((self.seconds.mean() - without[known].mean()) / max(added, 1e-9))

    def _throttled(self) -> Cause | None:
        now, before = self.now.numbers("throttled"), self.before.numbers("throttled")
        if np.isfinite(now).sum() < FEWEST:
            return None
        usual = float(np.nanmean(before)) if np.isfinite(before).any() else 0.0
        if np.nanmean(now) - usual < 0.1:
            return None
        free = now <= usual + 0.05
        without = np.where(free, self.seconds, np.nan)
        return Cause(
            "cpu_throttled",
            f"the container was throttled for {np.nanmean(now):.0%} of the time, {usual:.0%} before",
            f"the {int(free.sum())} requests of seconds without throttling alone",
            without,
        )

    def _larger(self) -> Cause | None:
        now, before = self._sizes(self.now.all), self._sizes(self.before.all)
        if now is None or before is None or np.median(now) < 1.3 * np.median(before):
            return None
        slope = max(0.0, float(np.polyfit(before, self.usual, 1)[0])) if np.ptp(before) > 0 else 0.0
        own = max(0.0, float(np.polyfit(now, self.seconds, 1)[0])) if np.ptp(now) > 0 else 0.0
        slope = own if slope == 0 or np.corrcoef(before, self.usual)[0, 1] < 0.2 else slope
        without = self.seconds - slope * np.maximum(now - np.median(before), 0.0)
        if self.explained(without) < EXPLAINS:
            return None
        return Cause(
            "payload_growth",
            f"requests are {np.median(now) / max(float(np.median(before)), 1.0):.1f} times as large "
            f"({np.median(now):.0f} bytes at the median, {np.median(before):.0f} before)",
            "each request as large as the control's, at the same seconds per byte",
            np.maximum(without, self.usual.min()),
        )

    def _sizes(self, requests: Sequence[Request]) -> Array | None:
        sizes = np.array([request.size or _weight(request) for request in requests], dtype=float)
        return sizes if len(sizes) >= FEWEST and sizes.max() > 0 else None

    def _first_ones(self) -> Cause | None:
        """Slow answers that are the first of a process: each run of them begins at once, and decays."""
        waits, usual_waits = self._waits(self.now), self._waits(self.before)
        own, usual = self.seconds - waits, self.usual - usual_waits
        limit = float(np.quantile(usual, 0.99))
        early = _decaying(self.now.all, own, limit)
        slow = own > 2 * limit
        if early.sum() < 3 or slow.sum() < 3 or early[slow].mean() < FIRST or early.mean() > 0.5:
            return None
        behind = waits > 2 * float(np.quantile(usual_waits, 0.99)) + limit
        return Cause(
            "cold_start",
            f"{early[slow].mean():.0%} of the slow requests are the first of a process, or follow one, each faster "
            "than the one before",
            "the later requests of the same processes alone, and none that waited for the first ones",
            np.where(early | behind, np.nan, self.seconds),
        )

    def _waits(self, requests: Requests) -> Array:
        """Seconds for which each waited for a worker; 0 where that was not measured."""
        return np.asarray(np.nan_to_num(self.stage(requests, "queue")))

    def _queued(self) -> Cause | None:
        queue, before = self.stage(self.now, "queue"), self.stage(self.before, "queue")
        if np.isfinite(queue).sum() < FEWEST or self.where != "queue":
            return None
        usual = float(np.nanmean(before)) if np.isfinite(before).any() else 0.0
        faster = _rate(self.now.all) / max(_rate(self.before.all), 1e-9)
        return Cause(
            "queue_saturation",
            f"requests waited {1e3 * np.nanmean(queue):.3g} ms for a worker, {1e3 * usual:.3g} ms before, at "
            f"{faster:.1f} times the rate",
            "the same requests without their wait",
            self.seconds - queue + usual,
        )

    def _threads(self) -> Cause | None:
        now, before = self.now.numbers("cpu"), self.before.numbers("cpu")
        if np.isfinite(now).sum() < FEWEST or np.isfinite(before).sum() < FEWEST:
            return None
        more = float(np.nanmean(now)) / max(float(np.nanmean(before)), 0.05)
        rate = _rate(self.now.all) / max(_rate(self.before.all), 1e-9)
        if more < 1.5 or rate > 0.7 * more or self.where in ("queue", REST):
            return None
        return Cause(
            "thread_oversubscription",
            f"the process used {np.nanmean(now):.2f} cores, {np.nanmean(before):.2f} before, at "
            f"{rate:.1f} times the rate",
            "the requests of seconds with the usual use of the CPU alone",
            np.where(now <= np.nanquantile(before, 0.9), self.seconds, np.nan),
        )

    def _memory(self) -> Cause | None:
        rss, times = self.now.numbers("rss"), self.now.numbers("time")
        known = np.isfinite(rss)
        before = self.before.numbers("rss")
        if known.sum() < FEWEST or not np.isfinite(before).any():
            return None
        if not growing(rss[known], times[known], float(np.nanmedian(before))):
            return None
        low = rss <= np.nanmax(before) * 1.1
        return Cause(
            "memory_growth",
            f"memory grew from {rss[known][0] / 1e6:.0f} to {rss[known][-1] / 1e6:.0f} MB, without an end",
            "the requests from before the memory grew alone",
            np.where(low, self.seconds, np.nan),
        )

    def _slow_client(self) -> Cause | None:
        """The rest is longer for a few requests alone: their clients take in or give slowly."""
        if self.where != REST:
            return None
        now, before = self.stage(self.now, REST), self.stage(self.before, REST)
        slow = now > np.nanquantile(before, 0.99) * 2
        typical = float(np.nanmedian(now)) > 2 * float(np.nanmedian(before)) + 1e-4
        if typical or slow.mean() > 0.5:
            return None
        return Cause(
            "",
            f"the seconds were added outside of every stage, for {slow.mean():.0%} of the requests alone: their "
            "clients are slow",
            "the other requests alone",
            np.where(slow, np.nan, self.seconds),
        )

    def _telemetry(self) -> Cause | None:
        if self.where != REST:
            return None
        now, before = self.stage(self.now, REST), self.stage(self.before, REST)
        if float(np.nanmedian(now)) <= 2 * float(np.nanmedian(before)) + 1e-4:
            return None
        return Cause(
            "blocking_telemetry",
            f"{1e3 * np.nanmedian(now):.3g} ms of each answer lie outside of every stage, "
            f"{1e3 * np.nanmedian(before):.3g} ms before: logging, metrics or another middleware holds it up",
            "the same requests with their stages alone",
            self.seconds - now + float(np.nanmean(before)),
        )


def _own(requests: Requests) -> Array:
    """Seconds that the server took: without those for which its client let a ready answer wait."""
    return requests.numbers("total") - requests.numbers("client")


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


def growing(rss: Array, times: Array, usual: float) -> bool:
    """Whether memory grows steadily over its usual size."""
    from scipy.stats import spearmanr

    if rss.max() < 1.3 * usual or np.ptp(times) <= 0:
        return False
    return float(spearmanr(times, rss).statistic) > 0.8


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


@memo(of="raw")
def latency_of(subject: Subject) -> Latency:
    """The seconds of the incident under examination."""
    return Latency(incident(subject))
