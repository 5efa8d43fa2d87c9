"""`drift.csv`: every compared column before and after, without values of personal columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from firstfault.checks.data._distances import Distance, is_number
from firstfault.checks.data._reference_splits import Compared, Pair
from firstfault.data.privacy.masking import kinds_of, masked_text
from firstfault.output.spreadsheets import write_frame
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

TABLE = "drift.csv"
QUANTILES = {"5%": 0.05, "median": 0.5, "95%": 0.95}  # of a column, as the table shows them
COMMONEST = 3  # values shown of a column: a cell of the table stays readable
COLUMNS = [
    "column",
    "against",
    "drifted",
    "kind",
    "distance",
    "p_corrected",
    "shift",
    *(f"{key} {side}" for key in ("mean", *QUANTILES, "commonest", "missing") for side in ("train", "other")),
]

Entry = tuple[Compared, Mapping[str, Distance], Mapping[str, float]]


def write_drift(subject: Subject, entries: Sequence[Entry]) -> None:
    """Write a line per column and per split that train is compared with, the most moved first."""
    lines = [line for beside, distances, moved in entries for line in _lines(beside, distances, moved)]
    write_frame(
        subject.folder / TABLE, pd.DataFrame(lines, columns=COLUMNS).dropna(axis=1, how="all"), float_format="%.5g"
    )


def personal(beside: Compared) -> set[str]:
    """The compared columns that hold personal data."""
    return {
        str(name)
        for pair in zip(*beside.columns.values(), strict=True)
        for name in kinds_of(dict(zip(beside.columns, pair, strict=True)))
    }


def _lines(beside: Compared, distances: Mapping[str, Distance], moved: Mapping[str, float]) -> list[dict[str, Any]]:
    hidden = personal(beside)
    ranked = sorted(distances, key=lambda name: (name not in moved, -distances[name].value))
    lines = [
        {
            "column": name,
            "against": beside.name,
            "drifted": "yes" if name in moved else "",
            **_measured(distances[name]),
            **_both(beside.columns[name], distances[name].kind, name in hidden),
        }
        for name in ranked
    ]
    return lines + [
        {"column": name, "against": beside.name, "drifted": "", "kind": f"left out: {reason}"}
        for name, reason in beside.left_out.items()
    ]


def _measured(found: Distance) -> dict[str, Any]:
    judged = found.kind not in ("empty", "identifier")
    return {
        "kind": "type differs" if found.kind == "type" else found.kind,
        "distance": found.value if judged else None,
        "p_corrected": found.p if judged else None,
        "shift": found.shift if judged and np.isfinite(found.shift) else None,
    }


def _both(pair: Pair, kind: str, hidden: bool) -> dict[str, Any]:
    sides = [_described(column, kind, hidden) for column in pair]
    keys = dict.fromkeys(key for side in sides for key in side)
    return {
        f"{key} {where}": side.get(key) for key in keys for where, side in zip(("train", "other"), sides, strict=True)
    }


def _described(column: pd.Series, kind: str, hidden: bool) -> dict[str, Any]:
    known = column.dropna()
    described: dict[str, Any] = {"missing": round(1 - len(known) / max(1, len(column)), 5)}
    if hidden or not len(known):
        return described
    if is_number(known):
        values = known.to_numpy(dtype=float)
        values = values[np.isfinite(values)]
        return described | (
            {"mean": values.mean(), **{name: np.quantile(values, at) for name, at in QUANTILES.items()}}
            if len(values)
            else {}
        )
    if kind != "category":
        return described
    share = as_text(known).value_counts(normalize=True).iloc[:COMMONEST]
    return described | {
        "commonest": ", ".join(f"{masked_text(str(value))[:30]} {part:.0%}" for value, part in share.items())
    }
