"""Where the time of an incident's slow answers went, in all and by stage."""

from __future__ import annotations

from typing import Any

import numpy as np

from firstfault.metrics import Array
from firstfault.subject.incident import STAGES, Evidence, Requests, incident
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

    def explained(self, without: Array) -> float:
        """The share of the added seconds that is gone with a cause."""
        known = np.isfinite(without)
        if not known.any():
            return 0.0
        added = float(self.seconds.mean() - self.usual.mean())
        return float((self.seconds.mean() - without[known].mean()) / max(added, 1e-9))


def _own(requests: Requests) -> Array:
    """Seconds that the server took: without those for which its client let a ready answer wait."""
    return requests.numbers("total") - requests.numbers("client")


def growing(rss: Array, times: Array, usual: float) -> bool:
    """Whether memory grows steadily over its usual size."""
    from scipy.stats import spearmanr

    if rss.max() < 1.3 * usual or np.ptp(times) <= 0:
        return False
    return float(spearmanr(times, rss).statistic) > 0.8


@memo(of="raw")
def latency_of(subject: Subject) -> Latency:
    """The seconds of the incident under examination."""
    return Latency(incident(subject))
