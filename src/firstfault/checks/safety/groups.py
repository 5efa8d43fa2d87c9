"""Metrics per sensitive group."""

from __future__ import annotations

from typing import Any

import pandas as pd

from firstfault.checks.safety.confident_errors import held_out_probabilities
from firstfault.errors import Missing
from firstfault.finding import Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

SMALLEST_GROUP = 30
JUDGED_GROUP = 100


def group_metrics(subject: Subject, evidence: Any, *, parity: float = 0.1, unfair: float = 0.5) -> None:
    """Compare accuracy, selection rate and error rates between the groups of every sensitive column (fairlearn).

    A selection-rate ratio below four fifths or an equalised-odds difference above `parity` is a warning; an equalised-odds difference
    above `unfair` between groups of at least 100 is a fault.

    Source: EEOC Uniform Guidelines 1978 (four-fifths rule); Hardt et al. 2016 (equalised odds).
    """
    probabilities, y = held_out_probabilities(subject)
    X = subject.raw.test.X
    if not isinstance(X, pd.DataFrame) or subject.target.prepare is not None or len(X) != len(y):
        raise Missing("the test rows cannot be matched with their raw columns")
    if probabilities.shape[1] != 2:
        raise Missing("group metrics need two classes")
    for column in subject.data.sensitive:
        _column(evidence, str(column), as_text(X[column]), y, probabilities.argmax(1), parity, unfair)


def _column(evidence: Any, column: str, groups: Any, y: Any, predicted: Any, parity: float, unfair: float) -> None:
    from fairlearn.metrics import MetricFrame, count, false_positive_rate, selection_rate, true_positive_rate
    from sklearn.metrics import accuracy_score

    metrics = {
        "count": count, "accuracy": accuracy_score, "selection_rate": selection_rate,
        "true_positive_rate": true_positive_rate, "false_positive_rate": false_positive_rate,
    }
    frame = MetricFrame(metrics=metrics, y_true=y, y_pred=predicted, sensitive_features=groups)
    table = frame.by_group
    evidence.tables[f"groups of {column}"] = [
        {"group": str(group), **{name: round(float(value), 4) for name, value in row.items()},
         "note": "too small to judge" if row["count"] < SMALLEST_GROUP else ""}
        for group, row in table.iterrows()
    ]
    judged = table[table["count"] >= SMALLEST_GROUP]
    large = table[table["count"] >= JUDGED_GROUP]
    if len(judged) < 2:
        evidence.add("group_metrics", Status.SKIPPED, f"{column} has fewer than two groups of {SMALLEST_GROUP} test samples", where=Place.columns(column))
        return
    odds = max(_gap(judged, "true_positive_rate"), _gap(judged, "false_positive_rate"))
    odds_of_large = max(_gap(large, "true_positive_rate"), _gap(large, "false_positive_rate"))
    ratio = float(judged["selection_rate"].min() / max(judged["selection_rate"].max(), 1e-9))
    evidence.scores[f"equalised_odds_difference/{column}"] = odds
    evidence.scores[f"selection_rate_ratio/{column}"] = ratio
    status = Status.FAIL if odds_of_large > unfair else Status.WARN if odds > parity or ratio < 0.8 else Status.PASS
    evidence.add(
        "group_metrics", status,
        f"between the groups of {column} the error rates differ by up to {odds:.2f}, and the selection rates by a factor of {ratio:.2f}",
        value=odds, threshold=unfair if status is Status.FAIL else parity, where=Place.columns(column), faults={"unfair": 0.9},
        fix="look at the table per group; mitigate, or reconsider the features",
        source="EEOC Uniform Guidelines 1978; Hardt et al. 2016",
    )


def _gap(table: Any, name: str) -> float:
    return float(table[name].max() - table[name].min()) if len(table) > 1 else 0.0
