"""An overview of the columns: a table of all of them, how classes are shared, and where values are missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from firstfault.charts.bars import Series, series_key, share_bars
from firstfault.charts.files import write_picture
from firstfault.charts.heat import Shading, cells, legend
from firstfault.charts.svg import CHARACTER, Part, grid, key, whole, words
from firstfault.check import Depth, Judgement, check, skipped
from firstfault.checks.data._distances import is_number
from firstfault.checks.data._hashing import scans
from firstfault.data.frames import table
from firstfault.data.privacy.masking import kinds_of, masked_text
from firstfault.data.splits import to_array
from firstfault.finding import Layer, Status
from firstfault.output.spreadsheets import write_frame
from firstfault.subject.subject import Subject
from firstfault.texts import as_text

Array = np.ndarray[Any, Any]

TABLE, BALANCE, MISSING = "columns.csv", "class_balance.svg", "missing_values.svg"
MOST_CLASSES, MOST_MISSING = 20, 20  # bars that a picture of a page's height shows legibly
MOST_ROWS = 50_000  # described rows: their means err by 0.5 % of a deviation
COMMONEST, IDENTIFYING = 3, 0.5  # values shown of a column; none where more than half are distinct
SPLITS = ("train", "validation", "test")
LONGEST, CELL = 24, 18  # letters of a name, pixels of a cell


@check(layer=Layer.DATA, needs={"raw"}, detects={}, depth=Depth.STANDARD)
def column_overview(subject: Subject) -> Iterator[Judgement]:
    """Draw how classes are shared and where values are missing, and list the columns.

    Measures: the number of columns. `class_balance.svg` shows the share of each class in every split,
        `missing_values.svg` the 20 columns that miss the most, and how far they miss values in the same rows.
        `columns.csv` lists distinct values, means and commonest values from at most 50,000 training rows, and shows
        none of personal columns.
    Fails when: never. It judges nothing.
    Source: UMLAUT and ydata-profiling, which show the same first.
    """
    frame = table(subject.raw.train.X)
    shares = _classes(subject)
    classes = shares if shares is not None and len(shares) else None
    if frame is None and classes is None:
        yield skipped("only tables and classes are shown")
        return
    files = _draw_classes(subject, classes) if classes is not None else ()
    told = []
    if classes is not None:
        told.append(
            f"{len(classes)} classes, {_brief(classes.index[0])} the most with {classes['train'].iloc[0]:.0%} of train"
        )
    if frame is not None:
        missing = _missing(subject)
        files += (
            _write_columns(subject, frame, missing),
            *(_draw_missing(subject, frame, missing) if len(missing) else ()),
        )
        told.append(f"{frame.shape[1]} columns, of which {len(missing)} miss values")
    yield Judgement(
        Status.PASS, "; ".join(reversed(told)), value=0 if frame is None else frame.shape[1], artifacts=files
    )


def _classes(subject: Subject) -> pd.DataFrame | None:
    """The share of each class (rows) in every split (columns), the commonest first; None for what has no classes."""
    if subject.target.task == "multilabel":
        return _label_shares(subject)
    if subject.target.task != "classification" or any(np.ndim(split.y) != 1 for _, split in subject.raw.items()):
        return None
    shares = pd.DataFrame(
        {
            name: pd.Series(to_array(split.y)).dropna().value_counts(normalize=True)
            for name, split in subject.raw.items()
        }
    )
    return shares.fillna(0.0).sort_values("train", ascending=False)


def _label_shares(subject: Subject) -> pd.DataFrame | None:
    rates = {name: to_array(split.y) for name, split in subject.raw.items()}
    if (
        any(y.ndim != 2 or y.dtype.kind not in "biuf" for y in rates.values())
        or len({y.shape[1] for y in rates.values()}) != 1
    ):
        return None
    names = subject.data.label
    count = rates["train"].shape[1]
    index = (
        list(names)
        if names is not None and not isinstance(names, str) and len(names) == count
        else [f"label {at}" for at in range(count)]
    )
    return pd.DataFrame({name: np.nanmean(y > 0, axis=0) for name, y in rates.items()}, index=index).sort_values(
        "train", ascending=False
    )


def _draw_classes(subject: Subject, shares: pd.DataFrame) -> tuple[str, ...]:
    shown = shares.iloc[:MOST_CLASSES]
    sizes = {name: f"{name} ({len(getattr(subject.raw, name).y):,})" for name in SPLITS}
    series = [Series(sizes[name], shown[name].tolist(), name) for name in SPLITS]
    drawn = share_bars("", [_brief(value) for value in shown.index], series, x_label="share of the rows of the split")
    rest = "" if len(shown) == len(shares) else f", the {len(shown)} commonest of {len(shares)}"
    return (_save(subject, BALANCE, f"Share of each class in the splits{rest}", drawn, series),)


def _save(subject: Subject, name: str, title: str, drawn: Part, series: list[Series]) -> str:
    """Write a picture with the key of the splits below it."""
    return write_picture(subject.folder, name, whole(title, grid([drawn, key(series_key(series), drawn.width)], 1, 8)))


def _missing(subject: Subject) -> pd.DataFrame:
    """The missing share of the columns (rows) that miss values in any split (columns), the worst first."""
    found = scans(subject)
    shares = pd.DataFrame(
        {name: pd.Series(found[name].missing, dtype=float) / max(1, len(found[name].hashes)) for name in SPLITS}
    ).fillna(0.0)
    shares = shares[shares.max(axis=1) > 0]
    return shares.loc[shares.max(axis=1).sort_values(ascending=False, kind="stable").index]


def _draw_missing(subject: Subject, frame: pd.DataFrame, missing: pd.DataFrame) -> tuple[str, ...]:
    shown = missing.iloc[:MOST_MISSING]
    names = [_brief(value) for value in shown.index]
    series = [Series(name, shown[name].tolist(), name) for name in SPLITS]
    drawn = share_bars("", names, series, x_label="share of the split's rows without a value", width=430)
    together = _together(frame, list(shown.index))
    if together is not None:
        drawn = grid([drawn, _draw_together(together, names)], 2)
    of = "" if len(shown) == len(missing) else f", the worst {len(shown)} of {len(missing)} columns"
    return (_save(subject, MISSING, f"Missing values{of}", drawn, series),)


def _together(frame: pd.DataFrame, names: list[str]) -> Array | None:
    """How far columns miss values in the same rows `(C, C)`, as a correlation; None below two columns."""
    part = frame.iloc[:: max(1, len(frame) // MOST_ROWS)]
    places = {str(name): place for place, name in reversed(list(enumerate(frame.columns)))}
    gaps = np.column_stack([part.iloc[:, places[name]].isna().to_numpy() for name in names]).astype(float)
    if (gaps.std(0) > 0).sum() < 2:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.corrcoef(gaps.T))


def _draw_together(together: Array, names: list[str]) -> Part:
    """A cell for each pair of columns, in the order of `names`, from -1 (never together) to 1 (always)."""
    shades = Shading(-1.0, 1.0, kind="d")
    names = [f"{name} · {at}" for at, name in enumerate(names, 1)]
    left = 14 + CHARACTER * max(map(len, names))
    side = CELL * len(names)
    rows = [[float(value) if np.isfinite(value) else None for value in row] for row in together]
    body = [
        words("Missing in the same rows of train (correlation)", 0, 12, "heading"),
        cells(rows, shades, left, 24, CELL, CELL),
        f'<rect class="frame" x="{left:.1f}" y="24" width="{side}" height="{side}"/>',
        *(words(name, left - 8, 24 + CELL * (at + 0.7), "label", anchor="end") for at, name in enumerate(names)),
        *(words(str(at + 1), left + CELL * (at + 0.5), 24 + side + 14, anchor="middle") for at in range(len(names))),
        legend(shades, left + 28, 24 + side + 30, 110),
    ]
    return Part("".join(body), max(left + side, left + 190, 360), side + 70, "how far columns miss values together")


def _brief(value: Any, most: int = LONGEST) -> str:
    text = masked_text(str(value))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _write_columns(subject: Subject, frame: pd.DataFrame, missing: pd.DataFrame) -> str:
    part = frame.iloc[:: max(1, len(frame) // MOST_ROWS)].iloc[:MOST_ROWS]
    personal = kinds_of(part) if part.columns.is_unique else {}
    lines = []
    for place, name in enumerate(part.columns):
        share = float(missing["train"].get(str(name), 0.0))
        lines.append(
            {
                "column": str(name),
                "kind": _kind(part.iloc[:, place]),
                "missing": round(share, 5),
                **_described(part.iloc[:, place], personal.get(name)),
            }
        )
    write_frame(subject.folder / TABLE, pd.DataFrame(lines), float_format="%.5g")
    return TABLE


def _kind(column: pd.Series) -> str:
    if is_number(column):
        return "number"
    return "text" if column.dtype == object or isinstance(column.dtype, pd.StringDtype) else str(column.dtype)


def _described(column: pd.Series, personal: str | None) -> dict[str, Any]:
    """Distinct values, and the range of numbers or the commonest texts; of a personal column its kind."""
    known = column.dropna()
    codes, distinct = _codes(known)
    counts = np.bincount(codes) if len(codes) else np.zeros(0, int)
    described: dict[str, Any] = {"distinct": len(counts)}
    if personal is not None:
        return described | {"commonest": f"{personal} •••"}
    if is_number(column):
        values = known.to_numpy(dtype=float)
        values = values[np.isfinite(values)]
        return described | ({"min": values.min(), "mean": values.mean(), "max": values.max()} if len(values) else {})
    if not len(counts) or len(counts) > max(COMMONEST, IDENTIFYING * len(known)):
        return described
    common = np.argsort(-counts, kind="stable")[:COMMONEST]
    return described | {
        "commonest": ", ".join(f"{_brief(distinct[code])} {counts[code] / len(known):.0%}" for code in common)
    }


def _codes(known: pd.Series) -> tuple[Array, Any]:
    """Values as codes `(N,)`, and the distinct values."""
    try:
        return pd.factorize(known)
    except TypeError:  # lists and mappings have no hash
        return pd.factorize(as_text(known))
