"""Sources as tables: files of every kind and SQL queries, with what could not be read as it stands.

read_file   csv, jsonl, parquet, plain or compressed by gzip
read_sql    the result of a query
Reading     what reading a source taught: its defects and its image files
"""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from firstfault.data.cells import expect_names
from firstfault.data.csv import Survey, as_utf8, mended, survey
from firstfault.errors import FirstfaultError, TargetError

if TYPE_CHECKING:
    from firstfault.data.images import ImageFile

KINDS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
NOTED = 5
MOST_SINGLE_COLUMNS = 300


@dataclass(frozen=True)
class Defect:
    """Something of a source that could only be read in part, or by a guess.

    `lost` is how many lines or columns it concerns; `fault` is None where it is odd but harmless.
    """

    file: str
    message: str
    lost: int = 0
    fault: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Reading:
    """What reading one source taught beside its rows: defects, harmless notes, and its image files."""

    defects: tuple[Defect, ...] = ()
    notes: tuple[str, ...] = ()
    images: tuple[ImageFile, ...] = ()


class Read:
    """A table in the making: what was read, and what was noticed on the way."""

    def __init__(self) -> None:
        self.defects: list[Defect] = []
        self.notes: list[str] = []

    def reading(self, images: Iterable[ImageFile] = ()) -> Reading:
        """What was noticed."""
        return Reading(tuple(self.defects), tuple(self.notes), tuple(images))


def kind_of_file(path: Path) -> str | None:
    """`csv`, `parquet` or `jsonl` by a file's suffix, before `.gz`; None for another."""
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return KINDS.get(name.suffix.lower())


def read_file(path: Path, name: str, read: Read) -> pd.DataFrame:
    """The table in a file; what it could not read of it is noted in `read`.

    Raises:
        TargetError: for a missing or empty file, one of another kind, or one that can't be read.
    """
    if not path.is_file():
        raise TargetError(f"data.{name}: there is no file {path}")
    kind = kind_of_file(path)
    if kind is None:
        raise TargetError(f"data.{name} must be a {', '.join(KINDS)} file (or one of them .gz), but got {path.name}")
    try:
        return _READERS[kind](path, name, read)
    except FirstfaultError:
        raise
    except pd.errors.EmptyDataError:
        raise TargetError(f"data.{name} must have at least one row, but {path.name} is empty") from None
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TargetError(
            f"data.{name} must be a whole {kind} file, but {path.name} can't be read as one: {reason}"
        ) from error


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _read_csv(path: Path, name: str, read: Read) -> pd.DataFrame:
    with _opened(path) as opened:
        file, encoding = as_utf8(opened)
        found = survey(file, f"data.{name} ({path.name})")
        file.seek(0)
        table = mended(file, found) if found.broken or found.foreign else file
        frame = pd.read_csv(table, sep=found.separator, index_col=False if found.trailing else None)
    if (
        len(found.header) > 1
        and not found.header[-1].strip()
        and frame.shape[1] == len(found.header)
        and frame.iloc[:, -1].isna().all()
    ):
        frame.pop(frame.columns[-1])
        read.notes.append(f"{path.name} has {_spoken(found.separator)} at the end of every line")
    if encoding:
        read.notes.append(f"{path.name} is {encoding.upper()}")
    if found.separator != ",":
        read.notes.append(f"{path.name} has {_spoken(found.separator)} between its fields")
    read.defects += _defects(found, path.name, len(frame))
    return frame


def _spoken(separator: str) -> str:
    return {"\t": "a tab", ";": "a semicolon", "|": "a bar", ",": "a comma"}[separator]


def _defects(found: Survey, file: str, rows: int) -> list[Defect]:
    defects = []
    if found.broken:
        defects.append(broken_lines(file, found.broken, rows))
    if found.foreign:
        told = _numbers(found.foreign)
        mixed = found.utf8 > 0
        defects.append(
            Defect(
                file,
                f"{file} mixes encodings: {found.utf8} lines are UTF-8, but {told} not, and read as Windows-1252"
                if mixed
                else f"{file} is no UTF-8 ({told}); it is read as Windows-1252",
                len(found.foreign),
                "noisy_features" if mixed else None,
                "write the file in UTF-8 throughout",
            )
        )
    repeated = sorted(column for column, times in Counter(found.header).items() if column and times > 1)
    if repeated:
        defects.append(
            Defect(
                file,
                f"the header of {file} repeats {', '.join(repeated[:NOTED])}; "
                f"pandas reads the repeats as {repeated[0]}.1 and so on",
                len(repeated),
                None,
                "give every column a name of its own",
            )
        )
    return defects


def broken_lines(file: str, broken: dict[int, str], rows: int) -> Defect:
    """The defect of a file with broken lines, by line number and reason."""
    told = "; ".join(f"line {line} has {reason}" for line, reason in list(broken.items())[:NOTED])
    more = f"; and {len(broken) - NOTED} more" if len(broken) > NOTED else ""
    return Defect(
        file,
        f"{len(broken)} lines of {file} are broken and left out, {rows} rows are read: {told}{more}",
        len(broken),
        "noisy_features",
        "repair these lines, or find out what wrote them",
    )


def _numbers(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:NOTED])) + (f" and {len(lines) - NOTED} more" if len(lines) > NOTED else "")
    return f"line {shown} is" if len(lines) == 1 else f"lines {shown} are"


def _read_parquet(path: Path, name: str, read: Read) -> pd.DataFrame:
    """A parquet file, a column at a time, so that memory holds no column twice; equal texts share one object."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:
        texts = _text_columns(file.schema_arrow)
    with pq.ParquetFile(path, pre_buffer=False, read_dictionary=sorted(texts)) as file:
        metadata = file.schema_arrow.pandas_metadata or {}
        _expect_one_level(metadata, name)
        _expect_distinct(file.schema_arrow.names, name)
        index = {column for column in metadata.get("index_columns", ()) if isinstance(column, str)}
        columns = [column for column in file.schema_arrow.names if column not in index]
        if len(columns) > MOST_SINGLE_COLUMNS:
            frame: pd.DataFrame = file.read(columns).to_pandas(self_destruct=True, deduplicate_objects=True)
        else:
            read_column = {True: _parquet_texts, False: _parquet_column}
            frame = _beside(
                [read_column[column in texts](file, column, metadata) for column in columns], file.metadata.num_rows
            )
    return frame


def _text_columns(schema: Any) -> set[str]:
    """The columns of text that pandas holds as objects."""
    import pyarrow as pa

    written = {
        column.get("field_name", column["name"]): column["numpy_type"]
        for column in (schema.pandas_metadata or {}).get("columns", ())
    }
    return {
        field.name
        for field in schema
        if (pa.types.is_string(field.type) or pa.types.is_large_string(field.type))
        and written.get(field.name, "object") == "object"
    }


def _parquet_texts(file: Any, name: str, metadata: Mapping[str, Any]) -> pd.Series:
    """One column of text by its dictionary: one object for each distinct text, None where it is missing."""
    import pyarrow as pa

    values = file.read([name]).column(name).unify_dictionaries().combine_chunks()
    parts = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    texts = [np.array([*part.dictionary.to_pylist(), None], dtype=object) for part in parts]
    codes = [part.indices.fill_null(len(part.dictionary)).to_numpy(zero_copy_only=False) for part in parts]
    column = (
        np.concatenate([known[code] for known, code in zip(texts, codes, strict=True)])
        if parts
        else np.empty(0, object)
    )
    return pd.Series(column, name=name, dtype=object)


def _parquet_column(file: Any, name: str, metadata: Mapping[str, Any]) -> pd.Series:
    """One column as pandas wrote it, in NumPy's own memory.

    Its metadata are without those of the index and of the other columns.
    """
    import pyarrow as pa

    table = file.read([name]).select([name])
    if metadata:
        own = [column for column in metadata["columns"] if column.get("field_name", column["name"]) == name]
        table = table.replace_schema_metadata({"pandas": json.dumps({**metadata, "index_columns": [], "columns": own})})
    column: pd.Series = table.to_pandas(deduplicate_objects=True).iloc[:, 0]
    if column.dtype != object:
        column = column.copy()
    del table
    pa.default_memory_pool().release_unused()
    return column


def _beside(columns: list[pd.Series], rows: int) -> pd.DataFrame:
    """Columns as one frame, without a copy."""
    frame = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(rows), copy=False)
    frame.columns = pd.Index([column.name for column in columns], tupleize_cols=False)
    return frame


def _expect_one_level(metadata: Any, name: str) -> None:
    levels = len((metadata or {}).get("column_indexes", ()))
    if levels > 1:
        raise TargetError(f"data.{name} must have one name per column, but its columns have names of {levels} levels")


def _expect_distinct(columns: Iterable[Any], name: str) -> None:
    repeated = pd.Index(list(columns))
    repeated = repeated[repeated.duplicated()].unique()
    if len(repeated):
        shown = ", ".join(map(repr, repeated[:NOTED]))
        raise TargetError(f"data.{name} must have columns of distinct names, but has more than one {shown}")


def expect_plain_columns(frame: pd.DataFrame, name: str) -> None:
    """Expect one distinct name per column.

    Raises:
        TargetError: naming the columns that share one, how many levels the names have, or what showing one raises.
    """
    if frame.columns.nlevels > 1:
        raise TargetError(
            f"data.{name} must have one name per column, but its columns have names of {frame.columns.nlevels} levels"
        )
    expect_names(frame, name)
    _expect_distinct(frame.columns, name)


def _read_jsonl(path: Path, name: str, read: Read) -> pd.DataFrame:
    try:
        return pd.read_json(path, lines=True)
    except ValueError:
        with _opened(path) as file:
            rows, broken = _objects(file.read())
    if len(broken) > len(rows):
        line, reason = next(iter(broken.items()))
        raise TargetError(
            f"data.{name} must have one JSON object per line, but {len(broken)} lines of {path.name} are none: "
            f"line {line} has {reason}"
        )
    frame = pd.read_json(io.StringIO("\n".join(map(json.dumps, rows))), lines=True)
    if broken:
        read.defects.append(broken_lines(path.name, broken, len(frame)))
    return frame


def _objects(content: bytes) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The objects of a JSON lines file, and its broken lines with their reasons."""
    rows, broken = [], {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            broken[number] = f"no JSON ({error.msg if isinstance(error, json.JSONDecodeError) else 'no UTF-8'})"
            continue
        if isinstance(value, dict):
            rows.append(value)
        else:
            broken[number] = f"a {type(value).__name__}, not an object"
    return rows, broken


_READERS: dict[str, Callable[[Path, str, Read], pd.DataFrame]] = {
    "csv": _read_csv,
    "parquet": _read_parquet,
    "jsonl": _read_jsonl,
}
