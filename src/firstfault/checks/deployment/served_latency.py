"""Checks of how long an incident's answers took, and of the memory of the process that gave them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import check
from firstfault.checks.deployment._latency import growing, latency_of
from firstfault.checks.deployment._slow_causes import EXPLAINS, causes
from firstfault.finding import Layer, Status
from firstfault.judgement import Judgement, passed, skipped
from firstfault.place import Place
from firstfault.subject.incident import incident
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind


@check(
    layer=Layer.DEPLOYMENT,
    needs={incident, latency_of},
    detects={
        "latency_regression": 0.6,
        "cpu_throttled": 0.8,
        "queue_saturation": 0.8,
        "cold_start": 0.8,
        "payload_growth": 0.8,
        "thread_oversubscription": 0.8,
        "blocking_telemetry": 0.7,
        "memory_growth": 0.8,
    },
    kind=SubjectKind.INCIDENT,
)
def served_latency(subject: Subject) -> Iterator[Judgement]:
    """Find what made answers slow: the stage that took longer, and what explains its seconds.

    Measures: the seconds in all and by stage against the control's; the container's throttling, the size of requests,
        how many of a process came before, the wait for a worker, the use of the CPU and of memory.
    Fails when: answers take 1.25 times as long, by ranks or by their slowest twentieth (p < .001).
    Not a fault when: the added seconds lie outside of every stage and belong to few requests: slow clients.
    Source: Dean & Barroso 2013, The Tail at Scale.
    """
    found = latency_of(subject)
    if not found.enough:
        yield skipped("there are too few requests on one side to compare their seconds")
        return
    if not found.is_slow and found.clients > 0.5 * float(found.usual.mean()):
        told = (
            f"clients let ready answers wait {found.clients:.2g} s longer; the server took {found.slower:.2f} times as "
            "long as before"
        )
        yield Judgement(Status.WARN, told, found.slower, faults={})
        return
    if not found.is_slow:
        yield passed(f"answers took {found.slower:.2f} times as long as the control's", value=found.slower)
        return
    where, added = found.where, found.added()
    more = f", {1e3 * added[where]:.3g} ms more in {where}" if where else ""
    told = f"answers took {found.slower:.1f} times as long as the control's (p = {found.p_value:.1g}){more}"
    place = Place.stage(where) if where else None
    known = causes(found)
    if known and not known[0].fault:
        yield Judgement(Status.WARN, f"{told}: {known[0].message}", found.slower, where=place, faults={})
        return
    if not known:
        by = _version(subject)
        yield Judgement(
            Status.FAIL, told + by, found.slower, where=place, faults={"latency_regression": 0.7 if where else 0.6}
        )
        return
    for cause in known[:1]:
        yield Judgement(Status.FAIL, f"{told}: {cause.message}", found.slower, where=place, faults={cause.fault: 0.8})
    for cause in known[1:]:
        share = found.explained(cause.without)
        if cause.fault and share >= EXPLAINS:
            yield Judgement(Status.WARN, cause.message, share, where=place, faults={})


def _version(subject: Subject) -> str:
    seen = incident(subject)
    new = {request.version for request in seen.requests.all} - {request.version for request in seen.control.all}
    return f"; it is version {', '.join(sorted(new))} that is slow" if new else "; nothing else explains it"


@check(layer=Layer.DEPLOYMENT, needs={incident}, detects={"memory_growth": 0.8}, kind=SubjectKind.INCIDENT)
def served_memory(subject: Subject) -> Iterator[Judgement]:
    """Find a serving process whose memory grows with its requests.

    Measures: the resident memory of the process over the incident's time, against the control's.
    Fails when: it grows steadily (Spearman's rank correlation with time above .8) beyond 1.3 times the control's.
    Not a fault when: it is higher, and stays there: caches have filled.
    Source: Jung et al. 2021, Detecting memory leaks through introspective dynamic behavior.
    """
    seen = incident(subject)
    rss, times = seen.requests.numbers("rss"), seen.requests.numbers("time")
    before = seen.control.numbers("rss")
    known = np.isfinite(rss)
    if known.sum() < 20 or not np.isfinite(before).any():
        yield skipped("the memory of the serving process was not recorded")
        return
    usual = float(np.nanmedian(before))
    message = f"memory went from {rss[known][0] / 1e6:.0f} to {rss[known][-1] / 1e6:.0f} MB ({usual / 1e6:.0f} before)"
    if not growing(rss[known], times[known], usual):
        yield passed(message)
        return
    yield Judgement(Status.FAIL, message, float(rss[known][-1]), usual)
