"""Files as tables, plain or compressed by gzip: csv, jsonl and parquet, with what could not be read as it stands."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pandas as pd

from firstfault.data.csv import Survey, mended, survey
from firstfault.data.encodings import as_utf8
from firstfault.data.parquet import read_parquet
from firstfault.data.reading import Defect, Read
from firstfault.errors import FirstfaultError, TargetError
from firstfault.place import SHOWN
from firstfault.values import Json

KINDS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}


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
                f"the header of {file} repeats {', '.join(repeated[:SHOWN])}; "
                f"pandas reads the repeats as {repeated[0]}.1 and so on",
                len(repeated),
                None,
                "give every column a name of its own",
            )
        )
    return defects


def broken_lines(file: str, broken: dict[int, str], rows: int) -> Defect:
    """The defect of a file with broken lines, by line number and reason."""
    told = "; ".join(f"line {line} has {reason}" for line, reason in list(broken.items())[:SHOWN])
    more = f"; and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    return Defect(
        file,
        f"{len(broken)} lines of {file} are broken and left out, {rows} rows are read: {told}{more}",
        len(broken),
        "noisy_features",
        "repair these lines, or find out what wrote them",
    )


def _numbers(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:SHOWN])) + (f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")
    return f"line {shown} is" if len(lines) == 1 else f"lines {shown} are"


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


def _objects(content: bytes) -> tuple[list[Json], dict[int, str]]:
    """The objects of a JSON lines file, and its broken lines with their reasons."""
    rows: list[Json] = []
    broken: dict[int, str] = {}
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
    "parquet": lambda path, name, read: read_parquet(path, name),
    "jsonl": _read_jsonl,
}
