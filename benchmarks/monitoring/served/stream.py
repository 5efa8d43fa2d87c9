"""One stream: requests of a healthy service, and from the onset on those of a changed one; with the truth beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from firstfault.monitor.record import Record
from monitoring.served.assistant import conversation
from monitoring.served.bases import Base, segments_of
from monitoring.served.load import Service, Times, arrivals, drawn_load
from monitoring.served.plan import Answering, Change
from monitoring.served.populations import Array, Drawn, Rng
from monitoring.served.recording import Recording, Request
from monitoring.served.server import Answer, healthy

MONDAY = 1_793_577_600.0
"""2026-11-02, midnight UTC."""
WEEK_HOURS, PARTS = 168, 8


@dataclass(frozen=True)
class Shape:
    """How long a stream is, and how it was recorded."""

    before: int
    after: int
    way: str = "function"
    sample: float = 1.0
    labelled: float = 1.0
    """Share of the requests whose label comes."""
    streamed: bool = False
    """Whether answers go out in parts."""
    busy: bool = False
    weeks: int = 0
    canary: float = 0.0


@dataclass
class Stream:
    """What was recorded, and what happened."""

    recording: Recording
    onset: float
    ended: float
    requests: int
    harm: dict[str, float]
    """Shares after the onset: of answers that the healthy service would have given otherwise, of errors; and before."""
    times: Array
    records: list[Record] = field(default_factory=list)
    told: str = ""
    """What was drawn, in a few words."""

    def after(self, time: float) -> int:
        """How many requests had come between the onset and a time."""
        return int(((self.times >= self.onset) & (self.times <= time)).sum())


class Maker:
    """Makes streams of one base."""

    def __init__(self, base: Base, rng: Rng, shape: Shape) -> None:
        self.base, self.rng, self.shape = base, rng, shape
        self.server: Answering = conversation(base) if base.kind == "prompts" else healthy(base)
        self.canary = replace(self.server, version="8")  # type: ignore[type-var]
        self.load = drawn_load(rng, shape.busy)
        self.start = MONDAY + float(rng.uniform(0, 5 * 86_400))

    def make(self, change: Change, store: Path, enough: Callable[[dict[str, float]], bool] = bool) -> Stream | None:
        """The stream with that change; None where what it did is not enough."""
        shape, rng = self.shape, self.rng
        service = Service(rng, self.load)
        recording = Recording(self.base.name, store, self.load.replicas, shape.way, shape.sample)
        at, hours = self._times(change)
        segments = self._segments(hours, change)
        onset = at[shape.before] if shape.after else at[-1] + 1
        before = self._serve(service, at[: shape.before], segments[: shape.before], hours, None)
        after: list[Request] = []
        harm = {"changed": 0.0, "errors": 0.0, "errors_before": _errors(self.base, before)}
        if shape.after:
            if change.load is not None:
                service.change(change.load(self.load))
            after = self._serve(service, at[shape.before :], segments[shape.before :], hours, change)
            harm["changed"], harm["errors"] = self._changed, _errors(self.base, after)
        if shape.after and not enough(harm):
            return None
        self._record(recording, before, after, change)
        records = recording.labelled()
        return Stream(recording, float(onset), float(at[-1]), len(at), harm, at, records, change.told)

    def _times(self, change: Change) -> tuple[Array, Array]:
        shape, rng = self.shape, self.rng
        n = shape.before + shape.after
        if shape.weeks:
            at = MONDAY + _weekly(rng, n, shape.weeks)
        else:
            rate = self.load.rate
            later = change.load(self.load).rate if change.load is not None else rate
            first = arrivals(rng, self.start, shape.before, rate)
            at = np.concatenate([first, arrivals(rng, float(first[-1]), shape.after, later)])
        return at, (at - MONDAY) / 3600 % WEEK_HOURS

    def _segments(self, hours: Array, change: Change) -> Array:
        shares = self.base.population.shares
        if self.shape.weeks:
            return np.array([self.rng.choice(len(shares), p=_shares_at(shares, hour)) for hour in hours])
        before = segments_of(self.base, self.rng, self.shape.before)
        return np.concatenate([before, segments_of(self.base, self.rng, self.shape.after, change.shares)])

    def _serve(
        self, service: Service, at: Array, segments: Array, hours: Array, change: Change | None
    ) -> list[Request]:
        rng, n = self.rng, len(at)
        draw = change.draw if change is not None and change.draw is not None else self.base.population.draw
        drawn = draw(rng, segments, np.zeros(n))
        if change is not None and change.repeat:
            drawn = _repeated(drawn, rng, change.repeat)
        truth = change.truth(drawn, rng) if change is not None and change.truth is not None else drawn.truth
        raw = self._sent(drawn.raw, change)
        sizes = np.array([len(msgspec.json.encode(one)) for one in raw])
        times = service.run(at, sizes)
        arms = self._arms(change, n)
        answers, versions = self._answers(raw, times, arms, change)
        if change is not None:
            self._changed = _changed(self.base, self.server.answer(drawn.raw), answers)
        gone = rng.random(n) < (0.01 if service.load.client else 0.001)
        return [
            Request(
                raw[row],
                float(at[row]),
                int(times.replica[row]),
                answers[row],
                times.stages[row],
                float(times.total[row]),
                times.resources[row],
                versions[row],
                "canary" if arms[row] else "champion",
                bool(gone[row]),
                truth[row],
                PARTS if self.shape.streamed else 0,
                float(times.waited[row]),
            )
            for row in range(n)
        ]

    def _sent(self, raw: list[Any], change: Change | None) -> list[Any]:
        """What the sources make of the requests."""
        if change is None or change.raw is None:
            return raw
        n = len(raw)
        share = change.part * (np.minimum(1, np.arange(n) / change.ramp) if change.ramp else np.ones(n))
        chosen = np.flatnonzero(self.rng.random(n) < share)
        sent = list(raw)
        for place, one in zip(chosen, change.raw([raw[place] for place in chosen], self.rng), strict=True):
            sent[place] = one
        return sent

    def _arms(self, change: Change | None, n: int) -> Array:
        share = self.shape.canary if change is None or change.canary is None else change.canary
        return self.rng.random(n) < share

    def _answers(
        self, raw: list[Any], times: Times, arms: Array, change: Change | None
    ) -> tuple[list[Answer], list[str]]:
        n = len(raw)
        servers = [self.canary if arm else self.server for arm in arms]
        if change is not None and change.server is not None:
            hit = np.isin(times.replica, change.replicas) if change.replicas else np.ones(n, dtype=bool)
            servers = [change.server if hit[row] else self.server for row in range(n)]
        if change is not None and change.canary_server is not None:
            servers = [change.canary_server if arms[row] else servers[row] for row in range(n)]
        answers: list[Any] = [None] * n
        for server in {id(one): one for one in servers}.values():
            places = [row for row in range(n) if servers[row] is server]
            for row, answer in zip(places, server.answer([raw[row] for row in places]), strict=True):
                answers[row] = answer
        return answers, [server.version for server in servers]

    def _record(
        self, recording: Recording, before: Sequence[Request], after: Sequence[Request], change: Change
    ) -> None:
        rng = self.rng
        labelled = rng.random(len(before) + len(after)) < self.shape.labelled
        lost = np.zeros(len(before) + len(after), dtype=bool)
        if change.lost:
            stretches = rng.random(len(after) // 50 + 1) < change.lost
            lost[len(before) :] = np.repeat(stretches, 50)[: len(after)]
        for place, request in enumerate([*before, *after]):
            recording.add(request, labelled=bool(labelled[place]), lost=bool(lost[place]))


def _weekly(rng: Rng, n: int, weeks: int) -> Array:
    """Times over some weeks: by day more than by night, and less at the weekend."""
    hours = rng.uniform(0, weeks * WEEK_HOURS, 4 * n)
    day, hour = hours // 24 % 7, hours % 24
    chance = (0.55 + 0.4 * np.sin((hour - 8) / 24 * 2 * np.pi)) * np.where(day >= 5, 0.6, 1.0)
    kept = np.flatnonzero(rng.random(len(hours)) < chance)[:n]
    return np.sort(hours[kept]) * 3600  # type: ignore[no-any-return]


def _shares_at(shares: Array, hour: float) -> Array:
    """The shares of the segments at an hour of the week: the first ones by day, the last ones by night."""
    tilt = np.linspace(1, -1, len(shares)) * 0.6 * np.sin((hour % 24 - 8) / 24 * 2 * np.pi)
    tilt = tilt + np.linspace(-0.3, 0.3, len(shares)) * (hour >= 120)
    moved = shares * np.exp(tilt)
    return moved / moved.sum()  # type: ignore[no-any-return]


def _repeated(drawn: Drawn, rng: Rng, share: float) -> Drawn:
    """Some requests in place of a share of the others."""
    n = len(drawn.raw)
    few = rng.choice(n, 6, replace=False)
    places = np.where(rng.random(n) < share, rng.choice(few, n), np.arange(n))
    return Drawn([drawn.raw[place] for place in places], drawn.truth[places])


def _changed(base: Base, right: list[Answer], given: list[Answer]) -> float:
    """The share of answers that a healthy service would have given otherwise."""
    if base.regression:
        step = 0.15 * float(np.std(base.subject.raw.train.y))
        pairs = [abs((a.label or 0.0) - (b.label or 0.0)) > step for a, b in zip(right, given, strict=True)]
    else:
        pairs = [a.label != b.label for a, b in zip(right, given, strict=True)]
    return float(np.mean(pairs))


def _errors(base: Base, requests: Sequence[Request]) -> float:
    """The share of wrong answers; of a regression, the mean error as a share of the truths' deviation."""
    known = [one for one in requests if one.answer.label is not None]
    if not known:
        return 1.0
    if base.regression:
        apart = [abs(float(one.answer.label) - float(one.truth)) for one in known]
        return float(np.mean(apart) / np.std([float(one.truth) for one in requests]))
    return float(np.mean([one.answer.label != one.truth for one in known]))
