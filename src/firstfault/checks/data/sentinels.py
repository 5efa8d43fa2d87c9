"""Numbers that stand for a missing one: −999 and the like."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.data._known_codes import read_as_missing
from firstfault.data.frames import table
from firstfault.finding import Layer, Status
from firstfault.metrics import Array
from firstfault.place import Place
from firstfault.subject.subject import Subject

LOW = (-9.0, -99.0, -999.0, -9999.0, -99999.0)
"""The codes of surveys and instruments for "no answer"."""
HIGH = (999.0, 9999.0, 99999.0)
"""Those above zero; 9 and 99 are left out, which are ages, shares and counts too."""
RARE = 0.02
"""Of a column: as much may be a dear thing's price of 999."""


@check(layer=Layer.DATA, needs={"raw"}, detects={"sentinel_value": 0.85})
def sentinel_value(
    subject: Subject, *, share: float = 0.005, fence: float = 1.5, times: float = 5.0
) -> Iterator[Judgement]:
    """Find codes for a missing value, such as −999, among numbers.

    Measures: the largest share of a column that is one of −9, −99, −999, −9999 and −99999, or 999, 9999 and 99999.
    Fails when: the share is above `share`, and the code stands alone: all other values are at least 0, or lie above it
        by more than `fence` times their interquartile range. One above zero is 2 to 50 % of the column, and more than
        `times` the largest other value.
    Not a fault when: a column is capped at such a number, as the capital gains of UCI Adult are at 99999, 2.4 times the
        largest other.
    Warns when: the preparation, or the model by a setting, reads the codes as missing.
    Source: Tukey 1977, Exploratory Data Analysis (fences at 1.5 interquartile ranges); benchmarks/localise.py, fault
        sentinel_value, writes −999 into 8 % of the rows of two columns.
    """
    frame = table(subject.raw.train.X)
    if frame is None:
        yield skipped("only tables are looked at")
        return
    found: dict[str, float] = {}
    codes: dict[str, float] = {}
    for name in frame.select_dtypes(include=["number"]).columns:
        values = frame[name].dropna().to_numpy(dtype=float)
        for code in (*LOW, *HIGH):
            hit = float((values == code).mean()) if len(values) else 0.0
            if share < hit and _stands_alone(code, hit, values[values != code], fence, times):
                found[str(name)], codes[str(name)] = hit, code
    if not found:
        yield passed("no number looks like a code for a missing value")
        return
    worst, known = max(found, key=lambda name: found[name]), read_as_missing(subject, codes)
    yield Judgement(
        Status.WARN if known else Status.FAIL,
        f"{found[worst]:.1%} of {worst} are one code {'above' if codes[worst] > 0 else 'below'} all other values"
        + (", and no number to the model" if known else ""),
        value=found[worst],
        threshold=share,
        where=Place.columns(*found),
        faults={} if known else None,
        fix="read the code as missing, then impute",
    )


def _stands_alone(code: float, hit: float, rest: Array, fence: float, times: float) -> bool:
    """Whether a code lies far below all other values, is the only one below zero, or lies far above them."""
    if not len(rest):
        return False
    if code > 0:
        return bool(RARE < hit < 0.5 and rest.min() > -code and rest.max() * times < code)
    if rest.min() <= code:
        return False
    spread = max(float(np.ptp(np.quantile(rest, [0.25, 0.75]))), 1e-9)
    return bool(rest.min() - code > fence * spread or rest.min() >= 0)
