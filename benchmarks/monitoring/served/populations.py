"""Who asks: for each base, requests drawn anew, with the true answer and the segment that each comes from.

A season and a promotion are other shares of the same segments; within a segment, nothing ever changes by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from monitoring.served.messages import TEAMS, message

Array = np.ndarray[Any, Any]
Rng = np.random.Generator
EXAMPLES = Path(__file__).parents[3] / "examples"


class Drawn(NamedTuple):
    """Requests as clients send them, and what the right answers are."""

    raw: list[Any]
    truth: Array


class Population(Protocol):
    """Draws requests."""

    shares: Array
    """Of the segments, as they usually are."""

    def draw(self, rng: Rng, segments: Array, hours: Array) -> Drawn:
        """One request for each segment and hour of the week."""
        ...


class Adult:
    """Rows of the census; segments are office work, manual work and no known work, by turns."""

    office = ("Exec-managerial", "Prof-specialty", "Adm-clerical", "Tech-support", "Sales")

    def __init__(self, rows: slice = slice(8_000, None)) -> None:
        frame = pd.read_parquet(EXAMPLES / "adult" / "adult.parquet")
        frame = frame.astype({name: str for name in frame.columns if frame[name].dtype == "category"})
        self.rows = frame.sample(frac=1, random_state=0).iloc[rows]
        in_office = self.rows["occupation"].isin(self.office).to_numpy()
        self.of = [np.flatnonzero(in_office), np.flatnonzero(~in_office)]
        self.shares = np.array([in_office.mean(), 1 - in_office.mean()])

    @classmethod
    def of_training(cls) -> Adult:
        """The rows from which the training's are drawn."""
        return cls(slice(8_000))

    def draw(self, rng: Rng, segments: Array, hours: Array) -> Drawn:
        """Rows, other ones than those of training."""
        at = np.array([rng.choice(self.of[segment]) for segment in segments], dtype=int)
        rows = self.rows.iloc[at]
        return Drawn(rows.drop(columns="salary").to_dict("records"), rows["salary"].to_numpy())


class Sensors:
    """Thirty numbers on scales from 0.1 to 100, of two kinds of machines, and four that say nothing."""

    shares = np.array([0.6, 0.4])

    def __init__(self) -> None:
        rng = np.random.default_rng(30)
        self.weights = rng.normal(size=30) * np.where(np.arange(30) < 12, 1.0, 0.35)
        self.curved = rng.choice(30, 4, replace=False)
        self.scale, self.shift = 10 ** rng.uniform(-1, 2, 34), rng.normal(0, 3, 34)
        self.kinds = rng.normal(0, 0.35, (2, 30))
        self.names = [f"sensor_{number:02}" for number in range(30)] + [f"spare_{number}" for number in range(4)]

    def draw(
        self, rng: Rng, segments: Array, hours: Array, weights: Array | None = None, moved: Array | float = 0.0
    ) -> Drawn:
        """Readings, and whether the machine fails: a curved score with noise, so that a tenth can't be known.

        Args:
            rng: draws them.
            segments: the kind of each machine.
            hours: not looked at.
            weights: of the thirty numbers in the score, where it is another truth than usually.
            moved: by how many deviations the thirty are moved.
        """
        z = rng.normal(size=(len(segments), 34))
        z[:, :30] += self.kinds[segments] + moved
        used = z[:, :30]
        score = used @ (self.weights if weights is None else weights) + 0.8 * (used[:, self.curved] ** 2 - 1).sum(1)
        truth = score + rng.logistic(0, 0.35, len(z)) > 0
        values = (z + self.shift) * self.scale
        raw = [dict(zip(self.names, row, strict=True)) for row in np.round(values, 4).tolist()]
        return Drawn(raw, truth.astype(int))


class Demand:
    """What six shops sell in an hour, by hour, weekday, temperature, price and what they sold before."""

    shops = ("north", "south", "east", "west", "harbour", "airport")
    weekdays = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    shares = np.array([0.3, 0.2, 0.2, 0.15, 0.1, 0.05])

    def draw(self, rng: Rng, segments: Array, hours: Array) -> Drawn:
        """Rows, and the demand with a noise of 6."""
        n = len(segments)
        hour, day = rng.integers(0, 24, n), rng.integers(0, 7, n)
        temperature, price = rng.normal(15, 7, n), rng.uniform(2, 6, n)
        level = np.array([80, 60, 50, 40, 90, 120])[segments] * (1 + 0.3 * (day >= 5))
        usual = level * (0.6 + 0.4 * np.sin((hour - 6) / 24 * 2 * np.pi)) - 8 * (price - 4)
        before = usual + rng.normal(0, 12, n)
        truth = 0.5 * usual + 0.5 * before + 1.2 * np.maximum(temperature - 15, 0) + rng.normal(0, 6, n)
        raw = [
            {
                "hour": int(hour[row]),
                "temperature": round(float(temperature[row]), 1),
                "price": round(float(price[row]), 2),
                "demand_before": round(float(before[row]), 1),
                "stock": int(rng.integers(50, 400)),
                "shop": self.shops[segments[row]],
                "weekday": self.weekdays[day[row]],
                "lot": int(rng.integers(1_000, 9_999)),
            }
            for row in range(n)
        ]
        return Drawn(raw, np.round(truth, 2))


class Digits:
    """Images of scikit-learn's digits, shifted by a pixel and with noise, so that none comes twice."""

    shares = np.full(10, 0.1)

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        self.images, self.digits = load_digits(return_X_y=True)
        self.of = [np.flatnonzero(self.digits == digit) for digit in range(10)]

    def draw(self, rng: Rng, segments: Array, hours: Array) -> Drawn:
        """Images as nested lists of whole numbers, 0 to 16."""
        at = [rng.choice(self.of[digit]) for digit in segments]
        images = self.images[at].reshape(-1, 8, 8)
        images = images + rng.integers(-1, 2, images.shape) * (rng.random(images.shape) < 0.3)
        images = np.clip(images, 0, 16).astype(int)
        return Drawn(images.tolist(), self.digits[at])


class Tickets:
    """Messages of customers, for five teams."""

    shares = np.array([0.3, 0.25, 0.2, 0.15, 0.1])

    def draw(self, rng: Rng, segments: Array, hours: Array) -> Drawn:
        """Messages of one to three sentences; now and then one belongs to another team than it sounds."""
        teams = np.where(rng.random(len(segments)) < 0.04, rng.integers(0, 5, len(segments)), segments)
        raw = [{"text": message(rng, int(segment))} for segment in segments]
        return Drawn(raw, np.array(TEAMS)[teams])


POPULATIONS: dict[str, type[Any]] = {
    "adult": Adult,
    "sensors": Sensors,
    "demand": Demand,
    "digits": Digits,
    "tickets": Tickets,
}
