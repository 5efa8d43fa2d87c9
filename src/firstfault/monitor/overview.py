"""What a store holds, in a few lines: requests, what was kept of them and why, labels, and losses."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from firstfault.monitor.store import Store

WORDS = {
    "queue": "dropped, since the queue was full",
    "disk": "not written, since the disk took nothing",
    "analysis": "could not be read",
    "damaged": "damaged in the queue",
}
"""Why something was lost."""
FULL_BYTES = 1 << 20
"""Of a disk that has less left, a segment's next lines and the database's next page may not be taken."""


class Overview(NamedTuple):
    """What is known of a store."""

    folder: str
    requests: int
    outcomes: dict[str, int]
    kept: int
    reasons: dict[str, int]
    labels: int
    losses: dict[str, int]
    full: bool = False
    """Whether the disk takes no more, so that what was lost since can't be written either."""

    def lines(self) -> Iterator[str]:
        """The same as text."""
        yield f"{self.requests} requests in {self.folder}"
        if self.outcomes:
            yield f"  of these {_listed(self.outcomes)}"
        yield f"{self.kept} are kept" + (f": {_listed(self.reasons)}" if self.reasons else "")
        if self.labels:
            yield f"{self.labels} labels came later"
        for cause, n in self.losses.items():
            yield f"{n} lost: {WORDS.get(cause, cause)}"
        if self.full:
            yield f"the disk of {self.folder} is full: what it takes no more is counted as lost once it has room again"
        elif not self.losses:
            yield "nothing was lost"

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return self._asdict()


def overview(store: Store) -> Overview:
    """Look at a store.

    Raises:
        StoreError: when its database does not answer.
    """
    records = store.records()
    counted = store.counted()  # the latter, so that what comes meanwhile is not kept and yet never came
    return Overview(
        str(store.settings.folder),
        counted.get("requests", 0),
        {name: counted[name] for name in ("error", "refused", "disconnected") if counted.get(name)},
        len(records),
        dict(Counter(reason for record in records for reason in record.reasons)),
        len(store.labels()),
        store.losses(),
        _free(store.settings.folder) < FULL_BYTES,
    )


def _free(folder: Path) -> int:
    """Bytes that are left where a folder is, or would be."""
    return next(shutil.disk_usage(place).free for place in (folder, *folder.parents) if place.exists())


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items())
