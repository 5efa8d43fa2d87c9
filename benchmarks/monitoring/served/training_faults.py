"""Faults of the training: the world has changed, and the model has not. They show in the labels alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from monitoring.served.bases import Base
from monitoring.served.plan import Change, Kind, kind
from monitoring.served.populations import Array, Drawn, Rng, Sensors
from monitoring.served.server import healthy


def concept_drift(base: Base, rng: Rng) -> Change:
    """The same requests have other right answers, from one moment on."""
    if base.name == "sensors":
        weights = _other_weights(base, rng, 0.9)
        return Change(draw=lambda rng, segments, hours: _by_weights(base, rng, segments, [weights] * len(segments)))
    if base.name == "demand":
        factor, price = float(rng.choice([0.7, 0.8, 1.25, 1.4])), float(rng.uniform(3, 4.5))
        return Change(
            truth=lambda drawn, rng: np.where(
                np.array([row["price"] for row in drawn.raw]) > price, drawn.truth * factor, drawn.truth
            )
        )
    if base.name == "adult":
        limit = int(rng.integers(38, 46))
        return Change(truth=lambda drawn, rng: _turned(drawn, rng, lambda row: row["hours_per_week"] >= limit, 0.5))
    return Change(truth=_reorganised)


def _turned(drawn: Drawn, rng: Rng, who: Any, part: float) -> Array:
    """Who earned less earns more now, and the other way round, among some."""
    turned = np.array([who(row) for row in drawn.raw]) & (rng.random(len(drawn.raw)) < part)
    other = np.where(drawn.truth == ">50K", "<=50K", ">50K")
    return np.where(turned, other, drawn.truth)


def _reorganised(drawn: Drawn, rng: Rng) -> Array:
    """Refunds, exchanges and closed accounts belong to other teams now."""
    rules = (("refund", "returns"), ("discount", "account"), ("courier", "returns"), ("log in", "technical"))
    return np.array(
        [
            next((team for word, team in rules if word in row["text"]), truth)
            for row, truth in zip(drawn.raw, drawn.truth, strict=True)
        ]
    )


def _other_weights(base: Base, rng: Rng, size: float) -> Array:
    population = base.population
    assert isinstance(population, Sensors)
    return population.weights + rng.normal(0, size, 30) * np.abs(population.weights)


def _by_weights(base: Base, rng: Rng, segments: Array, weights: list[Array]) -> Drawn:
    population = base.population
    assert isinstance(population, Sensors)
    parts = [
        population.draw(rng, segments[place : place + 1], np.zeros(1), weights=one) for place, one in enumerate(weights)
    ]
    return Drawn([part.raw[0] for part in parts], np.concatenate([part.truth for part in parts]))


def model_decay(base: Base, rng: Rng) -> Change:
    """The same, bit by bit over the whole time."""
    if base.name == "demand":
        end = float(rng.choice([0.55, 1.6]))
        return Change(truth=lambda drawn, rng: drawn.truth * np.linspace(1, end, len(drawn.truth)))
    population = base.population
    assert isinstance(population, Sensors)
    end_weights = _other_weights(base, rng, 1.6)

    def draw(rng: Rng, segments: Array, hours: Array) -> Drawn:
        shares = np.linspace(0, 1, len(segments))
        return _by_weights(
            base, rng, segments, [(1 - share) * population.weights + share * end_weights for share in shares]
        )

    return Change(draw=draw)


def label_drift(base: Base, rng: Rng) -> Change:
    """One answer is right far more often than it was; whom it is right for looks as before."""
    share = float(rng.uniform(0.6, 0.8))
    rare = {"adult": ">50K", "tickets": "returns"}[base.name]

    def draw(rng: Rng, segments: Array, hours: Array) -> Drawn:
        more = 8 * len(segments)
        usual = rng.choice(len(base.population.shares), more, p=base.population.shares)
        found = base.population.draw(rng, usual, np.zeros(more))
        wanted = rng.random(len(segments)) < share
        chosen = np.zeros(len(segments), dtype=int)
        chosen[wanted] = np.resize(np.flatnonzero(found.truth == rare), wanted.sum())
        chosen[~wanted] = np.resize(np.flatnonzero(found.truth != rare), (~wanted).sum())
        return Drawn([found.raw[place] for place in chosen], found.truth[chosen])

    return Change(draw=draw)


def feedback_loop(base: Base, rng: Rng) -> Change:
    """What was sold before is no longer measured: the model's own forecast is put in its place."""
    server = healthy(base)
    last: dict[str, float] = {}

    def fed(raw: list[Any], rng: Rng) -> list[Any]:
        rows = []
        for row in raw:
            own = {**row, "demand_before": last.get(row["shop"], row["demand_before"])}
            last[row["shop"]] = float(server.answer([own])[0].label)
            rows.append(own)
        return rows

    return Change(raw=fed)


TRAINING: tuple[Kind, ...] = (
    kind(
        "concept_drift",
        "training",
        concept_drift,
        ("sensors", "demand", "adult", "tickets"),
        faults=("model_decay",),
        shown="labels",
        hurts=0.0,
        worse=0.06,
    ),
    kind(
        "model_decay",
        "training",
        model_decay,
        ("sensors", "demand"),
        faults=("concept_drift",),
        shown="labels",
        hurts=0.0,
        worse=0.06,
    ),
    kind(
        "label_drift",
        "training",
        label_drift,
        ("adult",),
        layers=("training", "data"),
        shown="labels",
        hurts=0.0,
        worse=0.06,
    ),
    kind("feedback_loop", "training", feedback_loop, ("demand",), hurts=0.1, shown="labels"),
)
