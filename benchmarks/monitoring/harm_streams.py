"""Offline streams with a real model: what healthy rows are, and episodes whose harm is known from their labels.

The data sets are those in the nannyml wheel (Apache-2.0), which is fetched by pip and unzipped, not installed.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

WHEEL = "nannyml==0.13.1"
INSIDE = "nannyml/datasets/data/"
IGNORED = ("spare_number", "spare_kind")
"""Columns that every request has, and no model is given."""
BASELINE, ROWS = 2_000, 1_000
LONG = 4
"""The harm of an episode is that of so many times its rows: in a thousand alone, chance would be most of it."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Source:
    """One data set: its files, its label, and what is no input."""

    name: str
    reference: str
    analysis: str
    labels: str
    label: str
    dropped: tuple[str, ...]
    linear: bool


SOURCES = (
    Source("employment", "employment_MA_reference.pq", "employment_MA_analysis.pq", "employment_MA_analysis_target.pq",
           "employed", ("id", "timestamp", "year", "predicted_employed", "predicted_employed_proba",
                        "prediction", "predicted_probability"), False),
    Source("california", "california_housing_reference.csv", "california_housing_analysis.csv",
           "california_housing_analysis_gt.csv", "clf_target", ("id", "timestamp", "y_pred_proba", "y_pred"), False),
    Source("car_loan", "synthetic_car_loan_reference.csv", "synthetic_car_loan_analysis.csv",
           "synthetic_car_loan_analysis_target.csv", "repaid", ("id", "timestamp", "y_pred_proba", "y_pred"), True),
    Source("commute", "synthetic_sample_reference.csv", "synthetic_sample_analysis.csv",
           "synthetic_sample_analysis_gt.csv", "work_home_actual",
           ("id", "timestamp", "period", "y_pred_proba", "y_pred"), False),
    Source("cards", "mc_reference.csv", "mc_analysis.csv", "mc_analysis_gt.csv", "y_true",
           ("id", "timestamp", "y_pred_proba_prepaid_card", "y_pred_proba_highstreet_card",
            "y_pred_proba_upmarket_card", "y_pred"), False),
)  # fmt: skip


def fetched(cache: Path) -> Path:
    """The folder of the data sets, fetched where they are not there yet."""
    if not (cache / INSIDE).is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", WHEEL, "-d", str(cache)]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(cache.glob("nannyml-*.whl"))) as wheel:
            wheel.extractall(cache, [name for name in wheel.namelist() if name.startswith(INSIDE)])
    return cache / INSIDE


@dataclass
class Episode:
    """Rows that are served after the baseline, with the answers that the model really gives, and their truths."""

    kind: str
    rows: pd.DataFrame
    chances: Array
    truth: Array
    harm: float
    """Accuracy lost against the baseline's."""


class World:
    """A data set with a model that was trained on its first rows."""

    def __init__(self, source: Source, folder: Path, seed: int) -> None:
        self.source, self.rng = source, np.random.default_rng(seed)
        reference, analysis = _read(folder / source.reference), _read(folder / source.analysis)
        labels = _read(folder / source.labels)[source.label]
        self.past = self._with_spare(reference)
        self.past_truth = reference[source.label].to_numpy()
        self.stream = self._with_spare(analysis)
        self.stream_truth = labels.to_numpy()[: len(analysis)]
        self._shuffled_past()
        half = min(len(self.past) // 2, 12_000)
        self.columns = [name for name in self.past if name not in IGNORED]
        self.model = _model(self.past[self.columns], source.linear)
        self.model.fit(self.past[self.columns][:half], self.past_truth[:half])
        self.past, self.past_truth = self.past[half:].reset_index(drop=True), self.past_truth[half:]
        self.classes = self.model.classes_
        self.accuracy = self._accuracy(self.past, self.past_truth)
        self.matter = self._mattering()

    def _shuffled_past(self) -> None:
        order = self.rng.permutation(len(self.past))
        self.past, self.past_truth = self.past.iloc[order].reset_index(drop=True), self.past_truth[order]

    def _with_spare(self, frame: pd.DataFrame) -> pd.DataFrame:
        dropped = [name for name in (*self.source.dropped, self.source.label) if name in frame]
        rows = frame.drop(columns=dropped).reset_index(drop=True)
        rows[IGNORED[0]] = self.rng.normal(50, 10, len(rows)).round(3)
        rows[IGNORED[1]] = self.rng.choice(["a", "b", "c"], len(rows))
        return rows

    def chances(self, rows: pd.DataFrame) -> Array:
        """What the model answers."""
        return np.asarray(self.model.predict_proba(rows[self.columns]))

    def _accuracy(self, rows: pd.DataFrame, truth: Array) -> float:
        return float((self.classes[self.chances(rows).argmax(1)] == truth).mean())

    def _mattering(self) -> list[str]:
        """Numbers by which answers change when they are shuffled, the strongest first."""
        rows = self.past.iloc[:2_000]
        usual, found = self.chances(rows).argmax(1), {}
        for name in self.columns:
            if pd.api.types.is_numeric_dtype(rows[name]) and rows[name].nunique() > 10:
                other = rows.assign(**{name: self.rng.permutation(rows[name].to_numpy())})
                found[name] = float((self.chances(other).argmax(1) != usual).mean())
        return sorted(found, key=lambda name: -found[name])

    def baseline(self) -> tuple[pd.DataFrame, Array, Array]:
        """Healthy rows that say what is usual, with answers and truths."""
        rows = self.past.iloc[:BASELINE]
        return rows, self.chances(rows), self.past_truth[:BASELINE]

    def healthy(self, n: int = 0) -> tuple[pd.DataFrame, Array]:
        """Other rows of the same past, drawn anew; some of them several times, where there are too few."""
        n, others = n or LONG * ROWS, np.arange(BASELINE, len(self.past))
        at = self.rng.choice(others, n, replace=n > len(others))
        return self.past.iloc[at].reset_index(drop=True), self.past_truth[at]

    def episodes(self, each: int) -> Iterator[Episode]:
        """Episodes of every kind: as it really went on, nothing, drift that is ignored, and faults."""
        for _ in range(each):
            yield self._later()
            yield self._episode("nothing", *self.healthy())
            yield self._ignored()
            yield self._mix()
            yield self._broken("unit", lambda column: column * self.rng.choice([0.01, 100.0, 2.2, 0.45]))
            yield self._broken("default", lambda column: column.median())
            yield self._broken("moved", lambda column: column + self.rng.choice([-1, 1]) * column.std())
            yield self._concept()

    def _later(self) -> Episode:
        start = int(self.rng.integers(0, len(self.stream) - ROWS))
        part = slice(start, start + LONG * ROWS)
        return self._episode("later", self.stream.iloc[part].reset_index(drop=True), self.stream_truth[part])

    def _ignored(self) -> Episode:
        rows, truth = self.healthy()
        how = int(self.rng.integers(3))
        if how == 0:
            rows[IGNORED[0]] = rows[IGNORED[0]] * 100
        elif how == 1:
            rows[IGNORED[0]] = rows[IGNORED[0]] + self.rng.choice([-20.0, 20.0])
        else:
            rows[IGNORED[1]] = "a"
        return self._episode("ignored", rows, truth)

    def _mix(self) -> Episode:
        """More of those at one end of a column, as a promotion brings them."""
        rows, truth = self.healthy()
        values = rows[str(self.rng.choice(self.matter[:3]))].rank(pct=True).fillna(0.5).to_numpy()
        chance = 0.15 + 0.85 * (values if self.rng.random() < 0.5 else 1 - values)
        at = self.rng.choice(len(rows), len(rows) // 2, replace=False, p=chance / chance.sum())
        return self._episode("mix", rows.iloc[at].reset_index(drop=True), truth[at])

    def _broken(self, kind: str, change: Any) -> Episode:
        """A column comes otherwise for some or all requests, and the model is asked with it."""
        rows, truth = self.healthy()
        name, part = str(self.rng.choice(self.matter[:4])), float(self.rng.choice([0.5, 1.0]))
        hit = self.rng.random(len(rows)) < part
        column = rows[name].astype(float)
        changed = change(column)
        rows[name] = np.where(hit, changed, column)
        return self._episode(kind, rows, truth)

    def _concept(self) -> Episode:
        """The same rows have other right answers, among some."""
        rows, truth = self.healthy()
        values = rows[str(self.rng.choice(self.matter[:3]))].rank(pct=True).fillna(0.5).to_numpy()
        hit = (values > self.rng.uniform(0.5, 0.85)) & (self.rng.random(len(rows)) < self.rng.uniform(0.3, 1.0))
        other = self.rng.permutation(truth)
        return self._episode("concept", rows, np.where(hit, other, truth))

    def _episode(self, kind: str, rows: pd.DataFrame, truth: Array) -> Episode:
        chances = self.chances(rows)
        lost = self.accuracy - float((self.classes[chances.argmax(1)] == truth).mean())
        return Episode(kind, rows[:ROWS], chances[:ROWS], truth[:ROWS], lost)


def _read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".pq" else pd.read_csv(path)


def _model(rows: pd.DataFrame, linear: bool) -> Any:
    numbers = [name for name in rows if pd.api.types.is_numeric_dtype(rows[name]) and rows[name].dtype != bool]
    texts = [name for name in rows if name not in numbers]
    if linear:
        steps = make_column_transformer(
            (StandardScaler(), numbers),
            (OneHotEncoder(handle_unknown="ignore"), texts),
            verbose_feature_names_out=False,
        )
        return make_pipeline(steps, LogisticRegression(max_iter=500))
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(
        make_column_transformer(("passthrough", numbers), (codes, texts)),
        HistGradientBoostingClassifier(max_iter=80, random_state=0),
    )
