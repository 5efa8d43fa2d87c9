"""Is a table what a suite expects? Great Expectations' own results, and what is broken in the terms of faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firstfault.data.expectations.by_column import Result, run_by_column
from firstfault.data.expectations.suite import great_expectations
from firstfault.data.expectations.table import Table
from firstfault.values import Json

if TYPE_CHECKING:
    import great_expectations as gx

Run = Callable[[Table, "gx.ExpectationSuite", str], Result]

# What a broken expectation of a kind is evidence for; the first part of a name that fits decides.
FAULT_OF = {
    "row_count": "insufficient_data",
    "column_to_exist": "schema_change",
    "table_column": "schema_change",
    "type": "type_change",
    "json": "type_change",
    "dateutil": "type_change",
    "strftime": "type_change",
    "null": "missing_values",
    "unique": "duplicate_rows",
    "in_set": "unseen_category",
    "regex": "unseen_category",
    "mean": "covariate_drift",
    "median": "covariate_drift",
    "stdev": "covariate_drift",
    "quantile": "covariate_drift",
    "kl_divergence": "covariate_drift",
}


@dataclass(frozen=True)
class Broken:
    """One expectation that the data does not meet."""

    expectation: str
    column: str | None
    severity: str
    rows: int
    detail: str

    @property
    def fault(self) -> str:
        """The fault id that it is evidence for."""
        return next((fault for part, fault in FAULT_OF.items() if part in self.expectation), "out_of_range")


@dataclass(frozen=True)
class Validation:
    """The result of validating one table: Great Expectations' own JSON, and what is broken."""

    result: Json
    broken: tuple[Broken, ...]

    @property
    def count(self) -> int:
        """How many expectations were validated."""
        return len(self.result["results"])


def validate(table: Table, suite: gx.ExpectationSuite, run: Run = run_by_column) -> Validation:
    """Validate a table against a suite; `run(table, suite, form)` is the engine to use.

    The rows are validated as they are; the values that the result quotes are masked.
    """
    result = table.known.masked_tree(run(table, suite, "SUMMARY"))
    return Validation(result, tuple(_causes([broken_of(entry) for entry in result["results"] if not entry["success"]])))


def failing_rows(table: Table, suite: gx.ExpectationSuite, broken: Iterable[Broken]) -> dict[int, list[str]]:
    """The rows of `table`, by position, that break a critical expectation among `broken`, each with its reasons."""
    wanted = {(entry.expectation, entry.column) for entry in broken if entry.severity == "critical" and entry.rows}
    kept = [
        entry
        for entry in suite.to_json_dict()["expectations"]
        if (entry["type"], entry["kwargs"].get("column")) in wanted
    ]
    if not kept:
        return {}
    narrow = great_expectations().ExpectationSuite(name=suite.name, expectations=kept)
    reasons: dict[int, list[str]] = {}
    for entry in run_by_column(table, narrow, "COMPLETE")["results"]:
        config = entry["expectation_config"]
        told = f"{config['kwargs'].get('column')}: {config['type'].removeprefix('expect_')}"
        for row in entry["result"].get("unexpected_index_list") or ():
            reasons.setdefault(int(row), []).append(told)
    return dict(sorted(reasons.items()))


def _causes(broken: list[Broken]) -> list[Broken]:
    """What is broken, less what follows: a column that is absent, or of another type, can't meet the rest."""
    for fault, kind in (("schema_change", "column_to_exist"), ("type_change", "type")):
        lost = {entry.column for entry in broken if entry.fault == fault and kind in entry.expectation}
        broken = [entry for entry in broken if entry.column not in lost or entry.column is None or entry.fault == fault]
    return broken


def broken_of(entry: Json) -> Broken:
    """A result of Great Expectations that is no success, in the terms of faults."""
    config, outcome = entry["expectation_config"], entry["result"]
    kwargs = {name: value for name, value in config["kwargs"].items() if name not in ("batch_id", "column")}
    rows = int(outcome.get("unexpected_count") or 0)
    return Broken(
        expectation=config["type"],
        column=config["kwargs"].get("column"),
        severity=config.get("severity", "critical"),
        rows=rows,
        detail=_told(config["type"], kwargs, outcome, rows, entry.get("exception_info") or {}),
    )


def _told(kind: str, kwargs: Json, outcome: Json, rows: int, crash: Json) -> str:
    """What came and what was expected, in a few words."""
    wanted = ", ".join(f"{name} {short(value)}" for name, value in kwargs.items() if value is not None)
    if rows:
        examples = ", ".join(
            short(value) for value in dict.fromkeys(map(str, outcome.get("partial_unexpected_list", [])[:20]))
        )
        share = short(outcome.get("unexpected_percent"))
        return f"{rows} values ({share} %) such as {examples[:120]}; expected {wanted or 'none'}"
    mismatched = (outcome.get("details") or {}).get("mismatched") or {}
    if mismatched:
        return "; ".join(
            f"{name} columns: {', '.join(map(str, columns))}" for name, columns in mismatched.items() if columns
        )
    if outcome.get("observed_value") is not None:
        return f"{short(outcome['observed_value'])} came; expected {wanted}"
    messages = [str(value.get("exception_message")) for value in crash.values() if isinstance(value, Mapping)]
    reason = messages[0].splitlines()[0] if messages else ""
    return (
        f"{kind.removeprefix('expect_')} can't be evaluated: {reason}"
        if reason
        else f"the column is absent; expected {wanted or 'it'}"
    )


def short(value: object) -> str:
    """A value or the first of a list, in a few letters."""
    if isinstance(value, list):
        return ", ".join(map(short, value[:6])) + (", …" if len(value) > 6 else "")
    return f"{value:.4g}" if isinstance(value, float) else str(value)
