"""One 64-bit number per sample, equal for equal samples, taken column by column: no copy of the data is made.

Equal numbers hash alike whatever their width, and columns are matched by name, so that splits that were read
apart (whole numbers here, floats there; columns in another order) can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from firstfault.data.frames import MOST_COLUMNS, table
from firstfault.data.splits import Split, to_array
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject
from firstfault.texts import hash_texts, hash_values

Array = np.ndarray[Any, Any]

CHUNK = 1 << 22  # numbers hashed at a time: 32 MB
EXACT = 1 << 53  # up to here a float holds every whole number
MISSING = np.uint64(0x9E3779B97F4A7C15)  # any word will do: 2⁶⁴ over the golden ratio
LONG = 1 << 8  # bytes: longer texts are hashed one by one
WITHIN = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)


class Scan(NamedTuple):
    """One pass over the samples of a split.

    `hashes` `(N,)` are uint64; `empty` `(N,)` marks samples without any value; `missing` counts missing cells by
    column.
    """

    hashes: Array
    empty: Array
    missing: Mapping[str, int]


def scan(X: Any) -> Scan:
    """Hash samples `(N, …)` of a frame or an array."""
    if isinstance(X, pd.DataFrame):
        return _scan_frame(X)
    array = to_array(X)
    if array.dtype.kind in "biuf":
        return _scan_numbers(array)
    frame = table(array)
    if frame is None:
        frame = pd.DataFrame({"inputs": [str(sample) for sample in array]})
    return _scan_frame(frame)


@memo(of="raw")
def scans(subject: Subject) -> dict[str, Scan]:
    """The scan of every raw split by its name; made once per subject."""
    return {name: scan(split.X) for name, split in subject.raw.items()}


def among(hashes: Array, known: Array) -> Array:
    """Which hashes `(N,)` occur among sorted known ones."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    order = np.argsort(hashes)
    wanted = hashes[order]
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    found = np.zeros(len(wanted), bool)
    found[order] = known[places] == wanted
    return found


def with_labels(rows: Scan, split: Split) -> Array:
    """Hashes `(N,)` of samples together with their labels."""
    return np.asarray(rows.hashes ^ (scan(split.y).hashes >> np.uint64(1)))


def _scan_frame(frame: pd.DataFrame) -> Scan:
    hashes, empty = np.zeros(len(frame), np.uint64), np.ones(len(frame), bool)
    missing: dict[str, int] = {}
    for (name, column), weight in zip(frame.items(), _weights([str(name) for name in frame.columns]), strict=True):
        words, absent = column_words(column)
        missing[str(name)] = 0 if absent is None else int(absent.sum())
        empty &= False if absent is None else absent
        words *= weight
        hashes += words
    return Scan(hashes, empty, missing)


def _scan_numbers(array: Array) -> Scan:
    flat = array.reshape(len(array), -1)
    hashes, empty = np.zeros(len(flat), np.uint64), np.zeros(len(flat), bool)
    counts = np.zeros(flat.shape[1], np.int64)
    weights = _weights([str(place) for place in range(flat.shape[1])])
    step = max(1, CHUNK // max(1, flat.shape[1]))
    for start in range(0, len(flat), step):
        part = slice(start, start + step)
        words, absent = _number_words(flat[part])
        hashes[part] = (words * weights).sum(1)
        if absent is not None:
            empty[part], counts = absent.all(1), counts + absent.sum(0)
    few = flat.shape[1] <= MOST_COLUMNS
    return Scan(
        hashes,
        empty,
        {str(place): int(count) for place, count in enumerate(counts)} if few else {"inputs": int(counts.sum())},
    )


def _weights(names: list[str]) -> Array:
    words = hash_values(np.array(names, dtype=object)) if names else np.zeros(0, np.uint64)
    return np.asarray(_mixed(np.array(words, dtype=np.uint64)) | np.uint64(1))


def _mixed(words: Array) -> Array:
    """Spread the bits of uint64 words over the whole word, in place (a step of SplitMix64)."""
    words *= np.uint64(0x9E3779B97F4A7C15)
    words ^= words >> np.uint64(32)
    words *= np.uint64(0xD6E8FEB86659FD93)
    words ^= words >> np.uint64(29)
    return words


def column_words(column: pd.Series) -> tuple[Array, Array | None]:
    """A new uint64 word per value of a column `(N,)`, and which values are missing (None for none)."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return _category_words(column)
    if isinstance(kind, np.dtype) and kind.kind in "biuf":
        return _number_words(column.to_numpy())
    if isinstance(kind, np.dtype) and kind.kind in "mM":
        return _marked(
            _mixed(column.to_numpy().astype(f"{kind.kind}8[ns]").astype(np.int64).view(np.uint64)),
            column.isna().to_numpy(),
        )
    return _other_words(column)


def _number_words(values: Array) -> tuple[Array, Array | None]:
    if values.dtype.kind in "iu" and values.size and max(abs(int(values.min())), abs(int(values.max()))) > EXACT:
        return _mixed(values.astype(np.uint64)), None
    floats = values.astype(np.float64)
    floats += 0.0  # −0 is 0
    absent = np.isnan(floats)
    words = _mixed(floats.view(np.uint64))
    return _marked(words, absent) if absent.any() else (words, None)


def _marked(words: Array, absent: Array) -> tuple[Array, Array | None]:
    if not absent.any():
        return words, None
    words[absent] = MISSING
    return words, absent


def _category_words(column: pd.Series) -> tuple[Array, Array | None]:
    codes = column.cat.codes.to_numpy()
    words, _ = column_words(pd.Series(column.cat.categories))
    return np.append(words, MISSING)[codes], (codes < 0) if (codes < 0).any() else None


def _other_words(column: pd.Series) -> tuple[Array, Array | None]:
    """Texts, and whatever Arrow reads as one type; other objects by their text."""
    import pyarrow as pa

    absent = None
    try:
        values = pa.array(column, from_pandas=True)
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type):
            return _number_words(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        absent = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
        texts = values.cast(pa.large_string())
        words = _text_words(texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError):
        absent = column.isna().to_numpy()
        words = hash_texts(column)
    words = _mixed(np.array(words, dtype=np.uint64))
    return (words, None) if absent is None else _marked(words, absent)


def _text_words(texts: Any) -> Array:
    """A word per text of an Arrow array of large strings, taken from its own memory eight bytes at a time."""
    _, ends, content = texts.buffers()
    limits = np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    starts, lengths = limits[:-1], np.diff(limits)
    letters = np.append(np.frombuffer(content or b"", np.uint8), np.zeros(8, np.uint8))
    eights = np.ndarray(len(letters) - 7, np.dtype("<u8"), letters.data, strides=(1,))
    words = lengths.astype(np.uint64)
    going, done = np.flatnonzero((lengths > 0) & (lengths <= LONG)), 0
    while going.size:
        left = lengths[going] - done
        words[going] = _mixed(words[going] ^ (eights[starts[going] + done] & WITHIN[np.minimum(left, 8)]))
        going, done = going[left > 8], done + 8
    for place in np.flatnonzero(lengths > LONG):
        digest = hashlib.blake2b(letters[starts[place] : limits[place + 1]].data, digest_size=8).digest()
        words[place] = int.from_bytes(digest, "little")
    return words
