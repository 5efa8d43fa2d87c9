"""Faults of what is sent: the data's layer."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import numpy as np

from monitoring.served.bases import Base
from monitoring.served.plan import TABLES, Change, Kind, kind
from monitoring.served.populations import Drawn, Rng, Sensors

FACTORS = (100.0, 0.01, 2.54, 0.3048, 1000.0, 0.001, 12.0, 0.4536, 60.0)
CODES = (-999, -1, 9999, 0, 99999)
LETTERS = list(string.ascii_letters + string.digits + "+/=")


def _column(name: str, change: Callable[[Any], Any]) -> Callable[[list[Any], Rng], list[Any]]:
    """Another value in one column."""
    return lambda raw, rng: [{**row, name: change(row[name])} for row in raw]


def _part(rng: Rng, least: float = 0.35) -> float:
    return 1.0 if rng.random() < 0.5 else float(rng.uniform(least, 0.9))


def schema_change(base: Base, rng: Rng) -> Change:
    """A field is renamed, or comes no more; the server takes what is usual."""
    name = str(rng.choice(base.columns))
    new = str(rng.choice([name.title().replace("_", ""), f"{name}_v2", "", name.upper()]))

    def renamed(raw: list[Any], rng: Rng) -> list[Any]:
        return [{new if key == name else key: value for key, value in row.items() if new or key != name} for row in raw]

    return Change(raw=renamed, part=_part(rng, 0.5), told=f"{name} → {new or 'gone'}")


def type_change(base: Base, rng: Rng) -> Change:
    """Numbers come as texts with a decimal comma or a unit, or categories as the codes of a database."""
    if base.texts() and rng.random() < 0.5:
        name = str(rng.choice(base.texts()))
        codes = {value: place for place, value in enumerate(sorted(map(str, base.train[name].unique())))}
        return Change(
            raw=_column(name, lambda value: codes.get(str(value), -1)), part=_part(rng), told=f"{name} as codes"
        )
    name = str(rng.choice(base.numbers()))
    sign = str(rng.choice(["{} €", "{},0", "n={}"]))
    return Change(raw=_column(name, lambda value: sign.format(value)), part=_part(rng), told=f"{name} as {sign}")


def unit_change(base: Base, rng: Rng) -> Change:
    """A number comes in another unit; pixels in 0 to 255."""
    if base.kind == "images":
        factor = float(rng.choice([255 / 16, 1 / 16]))
        return Change(
            raw=lambda raw, rng: [np.round(np.array(image) * factor, 3).tolist() for image in raw], part=_part(rng)
        )
    name, factor = str(rng.choice(base.numbers())), float(rng.choice(FACTORS))
    return Change(
        raw=_column(name, lambda value: round(value * factor, 4)), part=_part(rng), told=f"{name} × {factor:g}"
    )


def upstream_default(base: Base, rng: Rng) -> Change:
    """A service upstream fails, and its default stands in: an ordinary value, always the same."""
    if base.kind == "texts":
        return Change(raw=_column("text", lambda value: "message from the web form"), part=_part(rng))
    if base.kind == "images":
        rows = rng.choice(8, int(rng.integers(3, 6)), replace=False)
        return Change(raw=lambda raw, rng: [_without(image, rows) for image in raw], part=_part(rng))
    name = str(rng.choice(base.columns))
    values = base.train[name]
    usual = values.mode()[0] if name in base.texts() or rng.random() < 0.5 else values.quantile(float(rng.random()))
    default = usual.item() if hasattr(usual, "item") else usual
    return Change(raw=_column(name, lambda value: default), part=_part(rng, 0.6), told=f"{name} = {default}")


def _without(image: Any, rows: Any) -> Any:
    return [[0] * 8 if place in rows else row for place, row in enumerate(image)]


def sentinel_value(base: Base, rng: Rng) -> Change:
    """A code stands for what is missing."""
    name, code = str(rng.choice(base.numbers())), int(rng.choice(CODES))
    low, high = base.train[name].min(), base.train[name].max()
    if low <= code <= high:
        code = -9999
    return Change(raw=_column(name, lambda value: code), part=float(rng.uniform(0.2, 0.7)), told=f"{name} = {code}")


def stale_feature(base: Base, rng: Rng) -> Change:
    """A feature is not refreshed any more: everybody gets what was looked up last."""
    name = str(rng.choice(base.columns))
    held: list[Any] = []

    def stale(raw: list[Any], rng: Rng) -> list[Any]:
        rows = []
        for place, row in enumerate(raw):
            if place % 700 == 0:
                held[:] = [row[name]]
            rows.append({**row, name: held[0]})
        return rows

    return Change(raw=stale, told=name)


def out_of_range(base: Base, rng: Rng) -> Change:
    """Values that can't be: the sign is turned, or a digit is typed twice."""
    name = str(rng.choice(base.numbers()))
    spread = float(base.train[name].max() - base.train[name].min())
    edge = float(base.train[name].max() if rng.random() < 0.5 else base.train[name].min())
    sign = 1 if edge == float(base.train[name].max()) else -1
    return Change(
        raw=lambda raw, rng: [{**row, name: round(edge + sign * spread * rng.uniform(0.5, 4), 3)} for row in raw],
        part=float(rng.uniform(0.3, 0.9)),
        told=f"{name} beyond {edge:g}",
    )


def unseen_category(base: Base, rng: Rng) -> Change | None:
    """Categories get new names, which the encoder does not know."""
    if not base.texts():
        return None
    name = str(rng.choice(base.texts()))
    common = base.train[name].astype(str).value_counts().index[: int(rng.integers(1, 4))]
    new = {
        value: f"{value} (2027)" if rng.random() < 0.5 else value.lower().replace("-", "_") + "_x" for value in common
    }
    return Change(raw=_column(name, lambda value: new.get(value, value)), told=f"{name}: {new}")


def gibberish_input(base: Base, rng: Rng) -> Change:
    """Encoded or broken texts; noise in place of images."""
    part = float(rng.uniform(0.2, 0.8))
    if base.kind == "images":
        return Change(raw=lambda raw, rng: [rng.integers(0, 17, (8, 8)).tolist() for _ in raw], part=part)
    return Change(raw=lambda raw, rng: [{**row, "text": _letters(rng, len(row["text"]))} for row in raw], part=part)


def _letters(rng: Rng, n: int) -> str:
    return "".join(rng.choice(LETTERS, n))


def duplicate_rows(base: Base, rng: Rng) -> Change:
    """A client that sends a few requests again and again."""
    return Change(repeat=float(rng.uniform(0.5, 0.85)))


def covariate_drift(base: Base, rng: Rng) -> Change | None:
    """Other people or machines than in training, of whom the model knows too little."""
    if base.name == "sensors":
        moved = np.zeros(30)
        moved[rng.choice(12, int(rng.integers(3, 7)), replace=False)] = rng.choice([-1, 1]) * rng.uniform(1.2, 2.2)
        return Change(draw=lambda rng, segments, hours: _moved(base, rng, segments, moved))
    if base.name == "digits":
        noise = float(rng.uniform(4, 7))
        return Change(
            raw=lambda raw, rng: [
                np.clip(np.array(image) + rng.normal(0, noise, (8, 8)), 0, 16).round(2).tolist() for image in raw
            ]
        )
    if base.name == "adult":
        return Change(draw=lambda rng, segments, hours: _married(base, rng, segments, hours))
    return None


def _moved(base: Base, rng: Rng, segments: Any, moved: Any) -> Drawn:
    population = base.population
    assert isinstance(population, Sensors)
    return population.draw(rng, segments, np.zeros(len(segments)), moved=moved)


def _married(base: Base, rng: Rng, segments: Any, hours: Any) -> Drawn:
    """Only those among whom the model errs most."""
    more = 4 * len(segments)
    found = base.population.draw(rng, rng.choice(2, more, p=base.population.shares), np.zeros(more))
    hard = [
        place
        for place, row in enumerate(found.raw)
        if row["marital_status"] == "Married-civ-spouse" and 9 <= row["education_num"] <= 13 and row["age"] > 30
    ]
    chosen = np.resize(hard, len(segments))
    return Drawn([found.raw[place] for place in chosen], found.truth[chosen])


DATA: tuple[Kind, ...] = (
    kind("schema_change", "data", schema_change, TABLES, faults=("upstream_default",)),
    kind("type_change", "data", type_change, TABLES),
    kind("unit_change", "data", unit_change, (*TABLES, "digits")),
    kind("upstream_default", "data", upstream_default, faults=("stale_feature",)),
    kind("sentinel_value", "data", sentinel_value, TABLES, faults=("out_of_range", "upstream_default")),
    kind("stale_feature", "data", stale_feature, TABLES, faults=("upstream_default",)),
    kind("out_of_range", "data", out_of_range, TABLES),
    kind("unseen_category", "data", unseen_category, ("adult", "demand")),
    kind("gibberish_input", "data", gibberish_input, ("tickets", "digits")),
    kind("duplicate_rows", "data", duplicate_rows, hurts=0.0),
    kind(
        "covariate_drift",
        "data",
        covariate_drift,
        ("adult", "sensors", "digits"),
        shown="labels",
        hurts=0.0,
        worse=0.05,
    ),
)
