"""Rows of a file as mappings: JSON lines, CSV or Parquet, on any path that fsspec knows, plain or compressed."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import msgspec

from firstfault.errors import FirstfaultError
from firstfault.texts import shown

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
BATCH = 10_000
_decode = msgspec.json.Decoder().decode


class Rows:
    """The rows of a file, and how many of its lines were none.

    Args:
        path: a local path or a URL; its name says what it holds.
        files: the file system in which `path` is a name; left out, the path says it.

    Raises:
        FirstfaultError: when the name says nothing that is known, or nothing can be read there.
    """

    def __init__(self, path: str, files: AbstractFileSystem | None = None) -> None:
        self.path, self.kind, self.files = path, _kind_of(path), files
        self.broken = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with _opened(self.path, self.files) as file:
            try:
                yield from self._parquet(file) if self.kind == ".parquet" else self._lines(file)
            except (OSError, ValueError, csv.Error, EOFError) as error:
                raise FirstfaultError(f"{self.path} must be {self.kind[1:]}, but: {shown(error, str)}") from error

    def _parquet(self, file: IO[bytes]) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(file).iter_batches(BATCH):
            yield from batch.to_pylist()

    def _lines(self, file: IO[bytes]) -> Iterator[dict[str, Any]]:
        if self.kind == ".csv":
            yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
            return
        if self.kind == ".json" and (first := file.read(1)) == b"[":
            yield from self._mappings(_decode(first + file.read()))
            return
        if self.kind == ".json":
            yield from self._mappings(map(self._decoded, (first + file.read()).splitlines()))
            return
        yield from self._mappings(map(self._decoded, file))

    def _decoded(self, line: bytes) -> Any:
        with contextlib.suppress(ValueError):
            return _decode(line)
        return None if line.strip() else {}

    def _mappings(self, rows: Any) -> Iterator[dict[str, Any]]:
        for row in rows:
            if isinstance(row, dict):
                if row:
                    yield row
            else:
                self.broken += 1


def is_rows(path: str) -> bool:
    """Whether a file's name says that it holds rows."""
    return _bare(path).endswith(KINDS)


def _bare(path: str) -> str:
    name = path.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name


def _kind_of(path: str) -> str:
    for kind in KINDS:
        if _bare(path).endswith(kind):
            return kind
    raise FirstfaultError(f"a file's name must end in {', '.join(KINDS)} (or one of these and .gz), but got {path}")


@contextlib.contextmanager
def _opened(path: str, files: AbstractFileSystem | None) -> Iterator[IO[bytes]]:
    import fsspec

    try:
        if files is None:
            files, path = fsspec.core.url_to_fs(path)
        with fsspec.core.OpenFile(files, path, compression=fsspec.core.get_compression(path, "infer")) as opened:
            yield opened
    except FirstfaultError:
        raise
    except (ImportError, ValueError) as error:  # a protocol whose package is not installed
        raise FirstfaultError(f"{path} must be a path that fsspec can read here, but: {error}") from error
    except OSError as error:
        raise FirstfaultError(f"{path} must be a file that can be read, but: {error.strerror or error}") from error
