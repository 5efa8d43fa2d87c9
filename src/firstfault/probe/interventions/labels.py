"""Other labels: those of the next row, or of the row before."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from firstfault.probe.interventions.hooks import replaced
from firstfault.probe.interventions.intervention import Done, intervention

LABELS = ("labels", "label", "targets", "target", "y")
"""The keys of what a row of a dict is to be answered with."""


class _Moved:
    """A dataset whose rows have the labels of the rows so many places later; at its ends, of the first or last."""

    def __init__(self, own: Any, rows: int) -> None:
        self._own, self._rows = own, rows

    def __len__(self) -> int:
        return len(self._own)

    def __getitem__(self, index: Any) -> Any:
        other = min(max(0, int(index) + self._rows), len(self._own) - 1)
        return _with_labels(self._own[index], self._own[other])

    def __getattr__(self, name: str) -> Any:
        if name == "__getitems__":  # of several rows at once, which are asked for one by one now
            raise AttributeError(name)
        return getattr(self.__dict__["_own"], name)


def _with_labels(row: Any, other: Any) -> Any:
    """A row with the labels of another one; the row itself where it is not known which they are."""
    if isinstance(row, Mapping):
        key = next((name for name in LABELS if name in row), None)
        return row if key is None else {**row, key: other[key]}
    if isinstance(row, tuple | list) and len(row) > 1:
        return type(row)([*row[:-1], other[-1]])
    return row


def _rows_moved(rows: int, done: Done) -> Iterator[None]:
    from torch.utils.data import DataLoader, IterableDataset

    place = "next row" if rows > 0 else "row before"

    def made(init: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        data = args[1] if len(args) > 1 else kwargs.get("dataset")
        if not isinstance(data, IterableDataset) and _is_labelled(data):
            done.note(f"each row of a DataLoader with the labels of the {place}", "loader")
            moved = _Moved(data, rows)
            args, kwargs = (
                ((args[0], moved, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "dataset": moved})
            )
        init(*args, **kwargs)

    with replaced(DataLoader, "__init__", made):
        yield


def _is_labelled(data: Any) -> bool:
    """Whether rows are asked for by number, and hold labels."""
    try:
        first = data[0] if len(data) > 1 else None
    except Exception:  # rows of another kind of place, or a stream
        return False
    return (isinstance(first, tuple | list) and len(first) > 1) or (
        isinstance(first, Mapping) and any(name in first for name in LABELS)
    )


for _name, _rows, _change in (
    ("labels_of_the_next_row", 1, "each row with the labels of the next one"),
    ("labels_of_the_row_before", -1, "each row with the labels of the one before"),
):
    intervention(name=_name, change=_change, undoes=("misaligned_labels",), keeps_loss=False, acquits=False)(
        functools.partial(_rows_moved, _rows)
    )
