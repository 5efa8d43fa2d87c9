"""What others look at: each column's drift, or that of all together, as one number of two frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp, wasserstein_distance

Array = np.ndarray[Any, Any]
BINS = 10
MOST = 400


def ks(usual: pd.DataFrame, now: pd.DataFrame) -> float:
    """The largest Kolmogorov–Smirnov distance of a number, or total variation of a category."""
    return max(_ks(usual[name], now[name]) for name in usual)


def _ks(a: pd.Series, b: pd.Series) -> float:
    if _is_number(a):
        return float(ks_2samp(a.dropna(), b.dropna()).statistic)
    return float((_shares(a).sub(_shares(b), fill_value=0)).abs().sum() / 2)


def psi(usual: pd.DataFrame, now: pd.DataFrame) -> float:
    """The largest population stability index of a column, in ten bins of equal counts."""
    return max(_psi(usual[name], now[name]) for name in usual)


def _psi(a: pd.Series, b: pd.Series) -> float:
    if _is_number(a):
        edges = np.unique(np.nanquantile(a, np.linspace(0, 1, BINS + 1)[1:-1]))
        a, b = (pd.Series(np.searchsorted(edges, side)) for side in (a, b))
    p, q = _shares(a).align(_shares(b), fill_value=0)
    p, q = p + 1e-4, q + 1e-4
    return float(((p - q) * np.log(p / q)).sum())


def wasserstein(usual: pd.DataFrame, now: pd.DataFrame) -> float:
    """The largest Wasserstein distance of a number, in deviations; of a category, total variation."""
    return max(
        wasserstein_distance(usual[name].dropna(), now[name].dropna()) / (usual[name].std() + 1e-9)
        if _is_number(usual[name])
        else _ks(usual[name], now[name])
        for name in usual
    )


def mmd(usual: pd.DataFrame, now: pd.DataFrame) -> float:
    """The maximum mean discrepancy of 400 rows each, with a Gaussian kernel of the median distance."""
    x, y = _scaled(usual, usual)[:MOST], _scaled(now, usual)[:MOST]
    both = np.concatenate([x, y])
    squares = (both**2).sum(1)
    apart = np.maximum(squares[:, None] + squares[None] - 2 * both @ both.T, 0.0)
    kernel = np.exp(-apart / np.median(apart))
    n = len(x)
    return float(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean())


def classifier(usual: pd.DataFrame, now: pd.DataFrame) -> float:
    """The AUC of a classifier that tells the two apart, on rows that it has not seen."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import cross_val_predict

    x = np.concatenate([_scaled(usual, usual)[-len(now) :], _scaled(now, usual)])
    y = np.repeat([0, 1], [min(len(usual), len(now)), len(now)])
    model = HistGradientBoostingClassifier(max_iter=15, random_state=0)
    return float(roc_auc_score(y, cross_val_predict(model, x, y, cv=3, method="predict_proba")[:, 1]))


TESTS = {"ks": ks, "psi": psi, "wasserstein": wasserstein, "mmd": mmd, "classifier": classifier}


def _is_number(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column.dtype)) and column.dtype != bool


def _shares(column: pd.Series) -> pd.Series:
    return column.astype(str).value_counts(normalize=True)


def _scaled(frame: pd.DataFrame, usual: pd.DataFrame) -> Array:
    parts = []
    for name in usual:
        if _is_number(usual[name]):
            values = (frame[name].astype(float) - usual[name].mean()) / (usual[name].std() + 1e-9)
            parts.append(values.fillna(0).clip(-10, 10).to_numpy())
        else:
            known = sorted(usual[name].astype(str).unique())[:10]
            parts += [(frame[name].astype(str) == value).to_numpy(dtype=float) for value in known]
    return np.stack(parts, axis=1)
