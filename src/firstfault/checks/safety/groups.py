"""Metrics per sensitive group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.check import Judgement, check, skipped
from firstfault.checks.safety._evidence import safety_evidence
from firstfault.checks.safety._held_out import classifier, held_out_probabilities
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]


@memo(of="raw")
def sensitive_columns(subject: Subject) -> list[Any]:
    """The columns that the target declares as sensitive; Missing where it declares none."""
    if not subject.data.sensitive:
        raise Missing("the target declares no data.sensitive")
    return list(subject.data.sensitive)


@check(layer=Layer.SAFETY, needs={classifier, sensitive_columns}, detects={"unfair": 0.9})
def group_metrics(
    subject: Subject,
    *,
    parity: float = 0.1,
    fifths: float = 0.8,
    unfair: float = 0.5,
    smallest: int = 30,
    large: int = 100,
) -> Iterator[Judgement]:
    """Compare accuracy, selection rate and error rates between the groups of every sensitive column (fairlearn).

    Measures: per column the equalised-odds difference, 0–1: the largest difference of true-positive or of
        false-positive rates between groups of at least `smallest` test samples.
    Fails when: it is above `unfair` between groups of at least `large`.
    Warns when: it is above `parity`, or the lowest selection rate is below `fifths` of the highest.
    Not a fault when: the groups are smaller: their rates are in the table, and are not judged.
    Source: EEOC Uniform Guidelines 1978 (four-fifths rule); Hardt et al. 2016 (equalised odds).
    """
    X, y, predicted = _answers(subject)
    evidence = safety_evidence(subject)
    for column in sensitive_columns(subject):
        table = _by_group(as_text(X[column]), y, predicted)
        evidence.tables[f"groups of {column}"] = _rows(table, smallest)
        judged = table[table["count"] >= smallest]
        if len(judged) < 2:
            yield skipped(f"{column} has fewer than two groups of {smallest} test samples", where=Place.columns(column))
            continue
        odds, selected = _odds(judged), judged["selection_rate"]
        ratio = float(selected.min() / max(selected.max(), 1e-9))
        evidence.scores |= {f"equalised_odds_difference/{column}": odds, f"selection_rate_ratio/{column}": ratio}
        fails, warns = _odds(table[table["count"] >= large]) > unfair, odds > parity or ratio < fifths
        yield Judgement(
            Status.FAIL if fails else Status.WARN if warns else Status.PASS,
            f"between the groups of {column} the error rates differ by up to {odds:.2f}, "
            f"and the selection rates by a factor of {ratio:.2f}",
            value=odds,
            threshold=unfair if fails else parity,
            where=Place.columns(column),
            fix="look at the table per group; mitigate, or reconsider the features" if fails or warns else None,
        )


def _answers(subject: Subject) -> tuple[pd.DataFrame, Array, Array]:
    """The raw test rows with the class id of each, and that predicted; Missing where they can't be matched."""
    probabilities, y = held_out_probabilities(subject)
    X = subject.raw.test.X
    if not isinstance(X, pd.DataFrame) or subject.target.prepare is not None or len(X) != len(y):
        raise Missing("the test rows cannot be matched with their raw columns")
    if probabilities.shape[1] != 2:
        raise Missing("group metrics need two classes")
    return X, y, probabilities.argmax(1)


def _by_group(groups: Any, y: Array, predicted: Array) -> pd.DataFrame:
    """Count, accuracy, and the rates of selection and of errors, by group."""
    from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate
    from sklearn.metrics import accuracy_score

    metrics = {
        "count": count,
        "accuracy": accuracy_score,
        "selection_rate": selection_rate,
        "true_positive_rate": true_positive_rate,
        "false_positive_rate": false_positive_rate,
    }
    table: pd.DataFrame = MetricFrame(metrics=metrics, y_true=y, y_pred=predicted, sensitive_features=groups).by_group
    return table


def _rows(table: pd.DataFrame, smallest: int) -> list[dict[str, Any]]:
    return [
        {
            "group": str(group),
            **{str(name): round(float(value), 4) for name, value in row.items()},
            "note": "too small to judge" if row["count"] < smallest else "",
        }
        for group, row in table.iterrows()
    ]


def _odds(table: pd.DataFrame) -> float:
    """The equalised-odds difference."""
    return max(_gap(table, "true_positive_rate"), _gap(table, "false_positive_rate"))


def _gap(table: pd.DataFrame, name: str) -> float:
    return float(table[name].max() - table[name].min()) if len(table) > 1 else 0.0
