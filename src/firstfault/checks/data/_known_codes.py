"""Whether a code for a missing value, such as −999, is read as one by the target's own preparation or model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from firstfault.data.splits import Split, Splits, to_array
from firstfault.interrupts import pass_on
from firstfault.subject.rerun import apart_by_row, flat, reference_run, rerun
from firstfault.subject.subject import Subject
from firstfault.target.estimators import settings_of

SLIGHTLY = 1.001  # times the code: another number, at nearly the same place in every scale
NOTICED = 0.05  # deviations, in the mean: what stays a number moves by less than a tenth of it, even if all have it


def read_as_missing(subject: Subject, codes: Mapping[str, float]) -> bool:
    """Whether the codes by column are known to the model, by its setting `missing`, or to the preparation.

    One that knows them prepares slightly other numbers otherwise. One that drops these columns, or makes categories of
    them, prepares such numbers alike to the last digit.
    """
    settings = settings_of(subject.target.estimator)
    if set(codes.values()) <= {value for name, value in settings.items() if name.rpartition("__")[2] == "missing"}:
        return True
    try:
        expected, again = reference_run(subject), rerun(subject, _moved(subject.raw, codes))
    except BaseException as error:  # which the preparation's own layer will say
        pass_on(error)
        return False
    return expected is not None and again is not None and _no_number(expected.train.X, again.prepared.train.X)


def _no_number(expected: object, found: object) -> bool:
    """Whether codes are prepared as no number is: alike when they change slightly, or quite otherwise."""
    first, second = flat(expected), flat(found)
    if first.shape != second.shape or np.array_equal(first, second, equal_nan=True):
        return True
    born = (np.isfinite(first) != np.isfinite(second)).any()
    return bool(born or apart_by_row(first, second).size > NOTICED)


def _moved(raw: Splits, codes: Mapping[str, float]) -> Splits:
    """The raw splits with another number in place of each code."""
    return Splits(*(Split(_with_other_codes(split.X, codes), split.y) for _, split in raw.items()))


def _with_other_codes(X: object, codes: Mapping[str, float]) -> object:
    if isinstance(X, pd.DataFrame):
        own = {name: codes[str(name)] for name in X.columns if str(name) in codes}
        return X.assign(**{name: X[name].astype(float).replace(code, SLIGHTLY * code) for name, code in own.items()})
    values = to_array(X).astype(float)
    for name, code in codes.items():
        values[:, int(name)] = np.where(values[:, int(name)] == code, SLIGHTLY * code, values[:, int(name)])
    return values
