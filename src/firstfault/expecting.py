"""Great Expectations: a suite read from a file or inferred from a table, validated, and shown as an offline page."""

from __future__ import annotations

import html
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from firstfault.errors import TargetError
from firstfault.shipped import own_or_shipped

if TYPE_CHECKING:
    import great_expectations as gx

MOST_CATEGORIES = 50
"""A text column of more distinct values is free text or an identifier, and no set of categories."""
TOLERATED = 0.002
"""Share of rows that an inferred expectation lets pass: rare values come late (TFDV's infer step has none)."""
WIDENED = 0.5
"""An inferred range is widened by this share of its width at each end."""

NUMBERS = [
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
] + ["float16", "float32", "float64", "int", "float"]
TEXT = ["str", "object", "string"]
TYPES = {"number": NUMBERS, "text": TEXT, "bool": ["bool", "bool_"], "time": ["datetime64", "datetime64[ns]", "datetime64[us]", "Timestamp", "datetime"]}

# What a broken expectation of a kind is evidence for; the first part of a name that fits decides.
FAULT_OF = {
    "row_count": "insufficient_data", "column_to_exist": "schema_change", "table_column": "schema_change",
    "type": "type_change", "json": "type_change", "dateutil": "type_change", "strftime": "type_change",
    "null": "missing_values", "unique": "duplicate_rows", "in_set": "unseen_category", "regex": "unseen_category",
    "mean": "covariate_drift", "median": "covariate_drift", "stdev": "covariate_drift", "quantile": "covariate_drift",
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

    result: Mapping[str, Any]
    broken: tuple[Broken, ...]

    @property
    def count(self) -> int:
        """How many expectations were validated."""
        return len(self.result["results"])


def read_suite(place: str | Path, root: Path) -> gx.ExpectationSuite:
    """A suite from a JSON file: below `root`, or among the suites that firstfault ships.

    Raises:
        TargetError: when there is no such file, or it holds no suite of Great Expectations.
    """
    path = own_or_shipped(place, root)
    if not path.is_file():
        raise TargetError(f"data.expectations: there is no file {path}, and firstfault ships no suite {str(place)!r}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        suite: gx.ExpectationSuite = _gx().ExpectationSuite(name=values["name"], expectations=values["expectations"])
        unknown = [entry["type"] for entry in values["expectations"] if not _known(entry["type"])]
        if unknown:
            raise ValueError(f"there is no expectation {unknown[0]!r}")
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TargetError(f"data.expectations must be a Great Expectations suite, but {place} is not: {reason}") from error
    return suite


def _known(expectation: str) -> bool:
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    return expectation in list_registered_expectation_implementations()


def infer_suite(frame: pd.DataFrame, name: str) -> gx.ExpectationSuite:
    """A suite that `frame` meets: columns, types, nulls, ranges, categories, uniqueness and row count."""
    suite: gx.ExpectationSuite = _gx().ExpectationSuite(name=name, expectations=list(_inferred(plain_types(frame))))
    return suite


def _inferred(frame: pd.DataFrame) -> Iterator[Any]:
    _gx()
    import great_expectations.expectations as gxe

    rows = len(frame)
    yield gxe.ExpectTableRowCountToBeBetween(min_value=max(1, rows // 10), severity="warning")
    yield gxe.ExpectTableColumnsToMatchSet(column_set=[str(column) for column in frame.columns], exact_match=True, severity="warning")
    for column in map(str, frame.columns):
        values = frame[column]
        kind = kind_of(values)
        missing = float(values.isna().mean())
        yield gxe.ExpectColumnToExist(column=column, severity="critical")
        if kind in TYPES and missing < 1:
            yield gxe.ExpectColumnValuesToBeInTypeList(column=column, type_list=TYPES[kind], severity="critical")
        yield gxe.ExpectColumnValuesToNotBeNull(column=column, mostly=_mostly(1 - 1.5 * missing - TOLERATED), severity="critical")
        known = values.dropna()
        if kind == "number" and len(known):
            low, high = float(known.min()), float(known.max())
            margin = WIDENED * max(high - low, abs(high) * 0.01)
            low, high = (0.0 if low >= 0 > low - margin else low - margin), high + margin
            yield gxe.ExpectColumnValuesToBeBetween(
                column=column, min_value=low, max_value=high, mostly=_mostly(1 - TOLERATED), severity="critical"
            )
        elif kind == "text" and 0 < known.nunique() <= min(MOST_CATEGORIES, max(2, rows // 20)):
            yield gxe.ExpectColumnValuesToBeInSet(
                column=column, value_set=sorted(map(str, known.unique())), mostly=_mostly(1 - TOLERATED), severity="critical"
            )
        if rows >= 100 and kind in ("text", "number") and values.dtype.kind != "f" and known.is_unique and not missing:
            yield gxe.ExpectColumnValuesToBeUnique(column=column, severity="warning")


def _mostly(share: float) -> float:
    return round(min(1.0, max(0.0, share)), 4)


def kind_of(values: pd.Series) -> str:
    """`number`, `text`, `bool`, `time`, or `mixed` for objects of several types."""
    if pd.api.types.is_bool_dtype(values):
        return "bool"
    if pd.api.types.is_numeric_dtype(values):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "time"
    return "text" if values.dropna().map(lambda value: isinstance(value, str)).all() else "mixed"


def plain_types(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with column names as text, and NumPy's types in place of categories and nullable ones."""
    return frame.rename(columns=str).apply(_plain)


def _plain(values: pd.Series) -> pd.Series:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.astype(values.cat.categories.dtype)
    if not pd.api.types.is_extension_array_dtype(values.dtype) or isinstance(values.dtype, pd.DatetimeTZDtype):
        return values
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.astype("float64") if values.isna().any() else values.astype(values.dtype.numpy_dtype)  # type: ignore[union-attr]
    return values.astype(object).where(values.notna(), None) if values.isna().any() else values.astype(object).infer_objects()


def validate(frame: pd.DataFrame, suite: gx.ExpectationSuite) -> Validation:
    """Validate a table against a suite, on Great Expectations' pandas engine."""
    result = _validated(frame, suite, "SUMMARY")
    return Validation(result, tuple(_causes([_broken(entry) for entry in result["results"] if not entry["success"]])))


def failing_rows(frame: pd.DataFrame, suite: gx.ExpectationSuite, broken: Iterable[Broken]) -> dict[int, list[str]]:
    """The rows of `frame`, by position, that break a critical expectation among `broken`, each with its reasons."""
    wanted = {(entry.expectation, entry.column) for entry in broken if entry.severity == "critical" and entry.rows}
    kept = [entry for entry in suite.to_json_dict()["expectations"] if (entry["type"], entry["kwargs"].get("column")) in wanted]
    if not kept:
        return {}
    narrow = _gx().ExpectationSuite(name=suite.name, expectations=kept)
    reasons: dict[int, list[str]] = {}
    for entry in _validated(frame.reset_index(drop=True), narrow, "COMPLETE")["results"]:
        told = f"{entry['expectation_config']['kwargs'].get('column')}: {entry['expectation_config']['type'].removeprefix('expect_')}"
        for row in entry["result"].get("unexpected_index_list") or ():
            reasons.setdefault(int(row), []).append(told)
    return dict(sorted(reasons.items()))


def _validated(frame: pd.DataFrame, suite: gx.ExpectationSuite, form: str) -> dict[str, Any]:
    context = _gx().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    asset = context.data_sources.add_pandas("firstfault").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("rows").get_batch(batch_parameters={"dataframe": plain_types(frame)})
    return json.loads(json.dumps(batch.validate(suite, result_format=form).to_json_dict(), default=str))  # type: ignore[no-any-return]


def _causes(broken: list[Broken]) -> list[Broken]:
    """What is broken, less what follows: an absent column, or one of another type, can't meet its other expectations."""
    for fault, kind in (("schema_change", "column_to_exist"), ("type_change", "type")):
        lost = {entry.column for entry in broken if entry.fault == fault and kind in entry.expectation}
        broken = [entry for entry in broken if entry.column not in lost or entry.column is None or entry.fault == fault]
    return broken


def _broken(entry: Mapping[str, Any]) -> Broken:
    config, outcome = entry["expectation_config"], entry["result"]
    kwargs = {name: value for name, value in config["kwargs"].items() if name not in ("batch_id", "column")}
    rows = int(outcome.get("unexpected_count") or 0)
    return Broken(
        expectation=config["type"], column=config["kwargs"].get("column"), severity=config.get("severity", "critical"),
        rows=rows, detail=_told(config["type"], kwargs, outcome, rows, entry.get("exception_info") or {}),
    )


def _told(kind: str, kwargs: Mapping[str, Any], outcome: Mapping[str, Any], rows: int, crash: Mapping[str, Any]) -> str:
    """What came and what was expected, in a few words."""
    wanted = ", ".join(f"{name} {_short(value)}" for name, value in kwargs.items() if value is not None)
    if rows:
        examples = ", ".join(_short(value) for value in dict.fromkeys(map(str, outcome.get("partial_unexpected_list", [])[:20])))
        return f"{rows} values ({_short(outcome.get('unexpected_percent'))} %) such as {examples[:120]}; expected {wanted or 'none'}"
    mismatched = (outcome.get("details") or {}).get("mismatched") or {}
    if mismatched:
        return "; ".join(f"{name} columns: {', '.join(map(str, columns))}" for name, columns in mismatched.items() if columns)
    if outcome.get("observed_value") is not None:
        return f"{_short(outcome['observed_value'])} came; expected {wanted}"
    messages = [str(value.get("exception_message")) for value in crash.values() if isinstance(value, Mapping)]
    reason = messages[0].splitlines()[0] if messages else ""
    return f"{kind.removeprefix('expect_')} can't be evaluated: {reason}" if reason else f"the column is absent; expected {wanted or 'it'}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value[:6])) + (", …" if len(value) > 6 else "")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_page(validations: Mapping[str, Validation], path: Path) -> None:
    """Write the results as one HTML page without scripts, that opens offline."""
    sections = "".join(_section(name, validation) for name, validation in validations.items())
    path.write_text(_PAGE.replace("<!-- sections -->", sections), encoding="utf-8")


def _section(name: str, validation: Validation) -> str:
    rows = "".join(map(_line, sorted(validation.result["results"], key=lambda entry: bool(entry["success"]))))
    met = validation.count - len(validation.broken)
    return (
        f"<h2>{html.escape(name)}: {met} of {validation.count} expectations met</h2><table><thead><tr>"
        f"<th></th><th>column</th><th>expectation</th><th>severity</th><th>what came</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _line(entry: Mapping[str, Any]) -> str:
    config = entry["expectation_config"]
    told = "" if entry["success"] else _broken(entry).detail
    kwargs = {name: value for name, value in config["kwargs"].items() if name not in ("batch_id", "column") and value is not None}
    wanted = ", ".join(f"{name} {_short(value)}" for name, value in kwargs.items())
    cells = (
        "✓" if entry["success"] else "✗", str(config["kwargs"].get("column", "table")),
        f"{config['type'].removeprefix('expect_').replace('_', ' ')} {wanted}", str(config.get("severity", "critical")), told,
    )
    kind = "met" if entry["success"] else "broken"
    return f"<tr class={kind}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _gx() -> Any:
    """Great Expectations, without telemetry and chatter."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations

    return great_expectations


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Great Expectations</title><style>
body { font: 14px/1.45 system-ui, sans-serif; color: #1d2430; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem; vertical-align: top }
th { border-bottom: 2px solid #cfd6e0; font-weight: 600 } td { border-bottom: 1px solid #e7ebf0; overflow-wrap: anywhere }
.broken { background: #fdf0ee } .broken td:first-child { color: #b3261e; font-weight: 700 } .met td:first-child { color: #2e7d4f }
</style></head><body><h1>Great Expectations</h1><!-- sections --></body></html>
"""
