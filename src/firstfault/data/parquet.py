"""Parquet files, a column at a time: memory holds no column twice, and equal texts share one object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from firstfault.data.cells import expect_distinct, expect_one_level
from firstfault.values import Json

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


MOST_SINGLE_COLUMNS = 300
"""A table of more columns is read, and parted, as a whole."""


def read_parquet(path: Path, name: str) -> pd.DataFrame:
    """The table in a parquet file.

    Raises:
        TargetError: for columns that share a name, or have names of several levels.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:
        texts = _text_columns(file.schema_arrow)
    with pq.ParquetFile(path, pre_buffer=False, read_dictionary=sorted(texts)) as file:
        metadata = file.schema_arrow.pandas_metadata or {}
        expect_one_level(metadata, name)
        expect_distinct(file.schema_arrow.names, name)
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


def _text_columns(schema: pa.Schema) -> set[str]:
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


def _parquet_texts(file: pq.ParquetFile, name: str, metadata: Json) -> pd.Series:
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


def _parquet_column(file: pq.ParquetFile, name: str, metadata: Json) -> pd.Series:
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
