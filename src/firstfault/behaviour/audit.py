"""A scorer compared with people's labels: what it finds, what it lets through, and what its rates are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.behaviour.scorers import Scorer
from firstfault.behaviour.statistics import Rate, Stratum, corrected_by_error, labelled_rate, rate_of
from firstfault.errors import TargetError
from firstfault.texts import nearest

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 10
"""Labels of one kind below which no error is told of a stratum: Wilson's interval is then wider than .5."""
YES = frozenset({"1", "1.0", "true", "yes", "y", "pass"})
NO = frozenset({"0", "0.0", "false", "no", "n", "fail"})


@dataclass(frozen=True)
class Columns:
    """The columns of a file of labels, and which labels say that the scorer should accept; yes, true, 1 when empty."""

    answer: str = "answer"
    label: str = "label"
    prompt: str | None = None
    expect: str | None = None
    stratum: str | None = None
    positive: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labelled:
    """One answer, with what people say of it; None where nobody said anything."""

    answer: str
    label: bool | None
    prompt: str = ""
    expect: str = ""
    stratum: str = ""


@dataclass(frozen=True)
class Error:
    """How a scorer compares with people on some answers."""

    n: int
    recall: Rate
    specificity: Rate
    agreement: Rate


@dataclass(frozen=True)
class Audit:
    """The error of a scorer, whole and per stratum; the rate that it measures on all answers, and the corrected one."""

    scorer: Scorer
    answers: int
    unscored: int
    error: Error
    strata: Mapping[str, Error]
    measured: Rate
    corrected: Rate
    failed: str | None = None

    def corrected_to(self, rate: float) -> Rate:
        """What a rate that was measured with it elsewhere is truly, if it errs there as it does here."""
        return corrected_by_error(rate, self.error.recall, self.error.specificity)


def read_labels(file: Path, columns: Columns) -> list[Labelled]:
    """The answers and labels of a CSV file.

    Raises:
        TargetError: naming the column or label, and what was expected.
    """
    frame = _frame(file)
    asked = [columns.answer, columns.label, *filter(None, (columns.prompt, columns.expect, columns.stratum))]
    for name in asked:
        if name not in frame.columns:
            raise TargetError(
                f"{file.name} has no column {name!r}, but {', '.join(frame.columns)}{nearest(name, frame.columns)}"
            )
    if columns.positive and not (found := set(frame[columns.label])) & set(columns.positive):
        raise TargetError(f"no label of {file.name} is {' or '.join(columns.positive)}, but {_few(found)}")
    return [_row(file, number, row, columns) for number, row in enumerate(frame.to_dict("records"), 2)]


def _frame(file: Path) -> pd.DataFrame:
    import pandas as pd

    if not file.is_file():
        raise TargetError(f"there is no file {file}")
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeError) as error:
        raise TargetError(f"{file.name} is no CSV in UTF-8: {str(error).splitlines()[0]}") from error
    if frame.empty:
        raise TargetError(f"{file.name} has no rows")
    return frame


def _few(found: set[str]) -> str:
    return ", ".join(sorted(found)[:5])


def _row(file: Path, number: int, row: Mapping[object, str], columns: Columns) -> Labelled:
    label = row[columns.label].strip()
    if columns.positive:
        verdict = label in columns.positive if label else None
    elif label.lower() in YES | NO or not label:
        verdict = label.lower() in YES if label else None
    else:
        raise TargetError(f"row {number} of {file.name}: the label must be yes or no, but is {label!r}; see --positive")
    more = {key: row[name] for key in ("prompt", "expect", "stratum") if (name := getattr(columns, key)) is not None}
    return Labelled(row[columns.answer], verdict, **more)


def audited(scorer: Scorer, rows: Sequence[Labelled]) -> Audit:
    """Compare a scorer with people; rows without a label count for its rate alone.

    Where some rows have no label, the corrected rate takes the labels as drawn at random among the answers of one
    verdict.

    Raises:
        TargetError: when nothing can be compared.
    """
    verdicts = [scorer(row.answer, row.expect, row.prompt) for row in rows]
    failed = getattr(scorer.score, "failed", None)
    pairs = [(row, v) for row, v in zip(rows, verdicts, strict=True) if v is not None]
    compared = [(row, v) for row, v in pairs if row.label is not None]
    if not compared:
        why = f": {failed}" if failed else ""
        raise TargetError(
            f"{scorer.name} gives no verdict on any labelled answer, so that nothing can be compared{why}"
        )
    names = sorted({row.stratum for row, _ in compared})
    strata = {name: _error([pair for pair in compared if pair[0].stratum == name]) for name in names if name}
    return Audit(
        scorer,
        len(rows),
        len(rows) - len(pairs),
        _error(compared),
        strata,
        rate_of([v for _, v in pairs]),
        labelled_rate([_stratum(pairs, verdict) for verdict in (True, False)]),
        failed,
    )


def _error(pairs: Sequence[tuple[Labelled, bool]]) -> Error:
    return Error(
        len(pairs),
        rate_of([v for row, v in pairs if row.label]),
        rate_of([not v for row, v in pairs if not row.label]),
        rate_of([v == row.label for row, v in pairs]),
    )


def _stratum(pairs: Sequence[tuple[Labelled, bool]], verdict: bool) -> Stratum:
    mine = [row for row, v in pairs if v is verdict]
    known = [row for row in mine if row.label is not None]
    return Stratum(len(mine), len(known), sum(bool(row.label) for row in known))


def told_audit(audit: Audit, rates: Sequence[float] = ()) -> list[str]:
    """What the audit found, a line each."""
    scorer, error = audit.scorer, audit.error
    lines = [
        f"{scorer.name} (version {scorer.version}) measures: {scorer.measures}",
        f"compared with people on {error.n} of {audit.answers} answers; {audit.unscored} unscored",
        *_told_error("all", error),
    ]
    for name, each in audit.strata.items():
        lines += _told_error(name, each)
    lines.append(f"it passes {audit.measured}; people would pass {_or_unknown(audit.corrected)}")
    lines += [f"a rate of {rate:.0%} measured with it is {_or_unknown(audit.corrected_to(rate))}" for rate in rates]
    if audit.failed:
        lines.append(f"it failed on some answers: {audit.failed}")
    return lines


def _told_error(name: str, error: Error) -> list[str]:
    kinds = {"agreement": error.agreement, "recall": error.recall, "specificity": error.specificity}
    told = [f"{kind} {rate if rate.n >= FEWEST else f'unknown ({rate.n} labels)'}" for kind, rate in kinds.items()]
    return [f"  {name:<24} n {error.n:<5} " + "  ".join(told)]


def _or_unknown(rate: Rate) -> str:
    return f"unknown ({rate.how})" if math.isnan(rate.value) else f"{rate} ({rate.how})"
