"""The truth that comes later, joined to its requests by their ids."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import msgspec

from firstfault.data.privacy.keyed import key_of
from firstfault.errors import FirstfaultError
from firstfault.monitor.database import LABEL
from firstfault.monitor.masking import Mask
from firstfault.monitor.rows import Rows
from firstfault.monitor.sampling import draw
from firstfault.monitor.store import Store
from firstfault.texts import nearest, shown

AT_ONCE = 5_000
MOST_SHOWN = 3


class Joined(NamedTuple):
    """How many labels found their request, and why the others did not."""

    known: int
    left_out: int
    """Of requests that are not in the store, and that the sample would have left out."""
    unknown: int
    """Of requests that would be in the store, had they been seen."""
    broken: int
    """Lines without an id or a label."""
    examples: tuple[str, ...]
    """Some ids that are unknown, as they are stored."""

    def __str__(self) -> str:
        told = [f"{self.known} labels joined their requests"]
        if self.left_out:
            told.append(f"{self.left_out} are of requests that the sample left out, or that were never seen")
        if self.unknown:
            told.append(f"{self.unknown} are of unknown requests ({', '.join(self.examples)}{' …' * self.more})")
        if self.broken:
            told.append(f"{self.broken} lines have no id or no label")
        return "; ".join(told)

    @property
    def more(self) -> bool:
        """Whether there are more unknown ids than are shown."""
        return self.unknown > len(self.examples)


def join(store: Store, path: str, request_id: str = "request_id", label: str = "label") -> Joined:
    """Keep the labels of a file; those of requests that are not there yet wait for them.

    Args:
        store: where the requests lie.
        path: JSON lines, CSV or Parquet, on any path that fsspec knows.
        request_id: the column of the ids.
        label: the column of the labels.

    Raises:
        FirstfaultError: when the file can't be read, or no line has such columns.
        StoreError: when the database takes nothing.
    """
    rows = Rows(path)
    found: dict[str, Any] = {}
    broken, columns = 0, set[str]()
    for row in rows:
        columns.update(row)
        if row.get(request_id) in (None, "") or row.get(label) is None:
            broken += 1
            continue
        found[shown(row[request_id], str)] = row[label]
    if not found:
        raise FirstfaultError(_nothing(path, (request_id, label), columns))
    mask = Mask(key_of(store.settings.folder))
    kept = {name: mask.identity(name) for name in found}
    _write(store, {kept[name]: mask.tree(value, label) for name, value in found.items()})
    return _counted(store, kept, broken + rows.broken)


def _nothing(path: str, wanted: tuple[str, str], columns: set[str]) -> str:
    lacking = next((name for name in wanted if name not in columns), wanted[0])
    there = f"its columns are {', '.join(sorted(columns))}" if columns else "it has no line that can be read"
    return f"{path} must have the columns {' and '.join(wanted)}, but {there}{nearest(lacking, columns)}"


def _write(store: Store, labels: dict[str, Any]) -> None:
    now = time.time()
    rows = [
        {"request_id": name, "label": msgspec.json.encode(label, enc_hook=str).decode(), "time": now}
        for name, label in labels.items()
    ]
    for start in range(0, len(rows), AT_ONCE):
        store.database.write([(LABEL, rows[start : start + AT_ONCE])])


def _counted(store: Store, kept: dict[str, str], broken: int) -> Joined:
    there = store.request_ids()
    absent = [name for name, masked in kept.items() if masked not in there]
    unknown = [name for name in absent if draw(name) < store.settings.sample]
    examples = tuple(kept[name] for name in unknown[:MOST_SHOWN])
    return Joined(len(kept) - len(absent), len(absent) - len(unknown), len(unknown), broken, examples)
