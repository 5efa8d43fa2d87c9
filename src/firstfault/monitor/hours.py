"""Hours that are over, as Parquet (zstd) on any path that fsspec knows: `hours/2026-11-29T12-1f0c.parquet`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import msgspec

from firstfault.monitor.record import CUTS, STAGES, Record
from firstfault.monitor.segments import FOLDER, hour_of, nobody_writes, read_segment
from firstfault.monitor.settings import Settings
from firstfault.output.whole_files import DRAFT

if TYPE_CHECKING:
    import pyarrow as pa

AS_JSON = ("values", "headers", "label")
"""Columns whose values may be anything, written as JSON."""


def schema() -> pa.Schema:
    """The columns of an hour."""
    import pyarrow as pa

    text, number, whole = pa.string(), pa.float64(), pa.int64()
    return pa.schema(
        {
            **dict.fromkeys(("request_id", "trace_id", "span_id"), text),
            "time": number,
            **dict.fromkeys(("way", "model", "version", "arm"), text),
            "status": whole,
            "outcome": text,
            "stages": pa.struct(dict.fromkeys(("total", *STAGES), number)),
            "cuts": pa.struct(dict.fromkeys(CUTS, text)),
            **dict.fromkeys(("raw", "path", "dialect", "request", "response"), text),
            **dict.fromkeys(("request_bytes", "response_bytes"), whole),
            **dict.fromkeys(("values", "headers", "error"), text),
            "confidence": number,
            "resources": pa.struct(
                {"cpu": number, "rss": whole, "throttled": number, "gpu": number, "gpu_memory": whole}
            ),
            "stream": pa.struct({"first": number, "parts": whole, "gap_mean": number, "gap_max": number}),
            "marks": pa.list_(text),
            "reasons": pa.list_(text),
            "weight": number,
            "control": number,
            "label": text,
        }
    )


def hour_in(path: str) -> str:
    """The hour of a Parquet file, by its name."""
    return path.rpartition("/")[2][:13]


def archive_of(settings: Settings) -> str:
    """Where the hours of a store lie."""
    return settings.archive or str(settings.folder / "hours")


def close_hours(settings: Settings, now: float) -> int:
    """Write every hour before the present one as Parquet; how many files were made.

    Segments that somebody still writes are left for the next time.
    """
    folders = sorted((settings.folder / FOLDER).glob("*/"))
    return sum(_close_hour(settings, folder) for folder in folders if folder.name != hour_of(now))


def _close_hour(settings: Settings, folder: Path) -> int:
    with contextlib.ExitStack() as held:
        segments = [path for path in sorted(folder.glob("*.jsonl")) if held.enter_context(nobody_writes(path))]
        if segments:
            records = drawn(unique(record for path in segments for record in read_segment(path)), settings.control)
            if records:
                write_hour(records, f"{archive_of(settings)}/{folder.name}-{token_hex(4)}.parquet")
            for path in segments:
                path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()  # while another writes there, it is not empty
    return bool(segments)


def unique(records: Iterable[Record]) -> Iterator[Record]:
    """Each record once: a writer that was killed may have written some that the next one wrote again."""
    seen: set[str] = set()
    for record in records:
        if record.raw not in seen:
            seen.add(record.raw)
            yield record


def drawn(records: Iterable[Record], most: int) -> list[Record]:
    """All that is in the sample, and the lowest of the lottery: those alone stay controls."""
    found = list(records)
    places = sorted(record.control for record in found if record.control is not None)
    limit = places[most - 1] if 0 < most <= len(places) else float("inf") if most else -1.0
    return [
        record if record.control is None or record.control <= limit else msgspec.structs.replace(record, control=None)
        for record in found
        if record.weight > 0 or (record.control is not None and record.control <= limit)
    ]


def write_hour(records: list[Record], path: str) -> None:
    """Write records as a Parquet file, whole or not at all."""
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_as_row(record) for record in records], schema())
    files, place = fsspec.core.url_to_fs(path)
    folder, _, name = place.rpartition("/")
    files.makedirs(folder, exist_ok=True)
    draft = f"{folder}/{DRAFT}{name}"
    try:
        with files.open(draft, "wb") as file:
            pq.write_table(table, file, compression="zstd")
        files.mv(draft, place)
    except BaseException:
        with contextlib.suppress(Exception):
            files.rm(draft)
        raise


def _as_row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(record, name) for name in record.__struct_fields__}
    row = {name: msgspec.to_builtins(value) for name, value in row.items()}
    return {**row, **{name: msgspec.json.encode(row[name]).decode() for name in AS_JSON}}


def read_hour(path: str) -> Iterator[Record]:
    """The records of a Parquet file."""
    import fsspec
    import pyarrow.parquet as pq

    with fsspec.open(path, "rb") as file:
        for row in pq.read_table(file).to_pylist():
            yield as_record(row)


def ids_of_hour(path: str) -> list[str]:
    """The ids of the requests of a Parquet file."""
    import fsspec
    import pyarrow.parquet as pq

    with fsspec.open(path, "rb") as file:
        return list(pq.read_table(file, columns=["request_id"])["request_id"].to_pylist())


def as_record(row: dict[str, Any]) -> Record:
    """A row of a Parquet file as the record that it was."""
    decoded = {name: msgspec.json.decode(row[name]) for name in AS_JSON if row.get(name) is not None}
    return msgspec.convert({name: value for name, value in {**row, **decoded}.items() if value is not None}, Record)


def hours_of(settings: Settings) -> list[str]:
    """The Parquet files of a store, the oldest first."""
    import fsspec

    files, place = fsspec.core.url_to_fs(archive_of(settings))
    if not files.exists(place):
        return []
    found = (name for name in files.ls(place, detail=False, refresh=True) if name.endswith(".parquet"))
    return sorted(files.unstrip_protocol(name) for name in found if DRAFT not in name)
