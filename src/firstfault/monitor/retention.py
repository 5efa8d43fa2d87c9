"""How long records are kept: by their age and by how much there is of them. What an incident holds stays."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from firstfault.monitor.database import StoreError
from firstfault.monitor.hours import archive_of, hour_in, hours_of, read_hour, write_hour
from firstfault.monitor.segments import hour_of
from firstfault.monitor.settings import DAY, Settings
from firstfault.monitor.store import Store
from firstfault.output.whole_files import DRAFT

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

logger = logging.getLogger(__name__)
HELD = "held"
"""Files of records that are left of an hour that was removed end in this word, and are never removed themselves."""
DRAFT_SECONDS = 3_600.0


class Pruned(NamedTuple):
    """What was removed, and what stayed of it."""

    files: int = 0
    bytes: int = 0
    held: int = 0


def prune(settings: Settings, now: float) -> Pruned:
    """Remove hours that are too old, then the oldest ones until all fit; drafts of writers that were killed too."""
    import fsspec

    files, place = fsspec.core.url_to_fs(archive_of(settings))
    hours = [path for path in hours_of(settings) if not path.endswith(f"-{HELD}.parquet")]
    sizes = {path: int(files.size(path)) for path in hours}
    too_many = _beyond(hours, sizes, settings.keep_bytes)
    oldest = hour_of(now - settings.keep_days * DAY)
    leaving = [path for path in hours if hour_in(path) < oldest or path in too_many]
    store = Store(settings)
    try:
        held = store.held() if leaving else set()
    except StoreError as error:
        logger.warning("nothing is removed, since nobody knows what incidents hold: %s", error)
        return Pruned()
    kept = sum(_remove(path, held) for path in leaving)
    _remove_drafts(files, place, now)
    _forget_counts(store, now)
    return Pruned(len(leaving), sum(sizes[path] for path in leaving), kept)


def _beyond(hours: list[str], sizes: dict[str, int], most: int) -> set[str]:
    """The oldest files that have to go so that the rest fits."""
    total, leaving = sum(sizes.values()), set()
    for path in hours:
        if total <= most:
            break
        total -= sizes[path]
        leaving.add(path)
    return leaving


def _remove(path: str, held: set[str]) -> int:
    """Remove an hour but for what incidents hold; how many records that is."""
    import fsspec

    kept = [record for record in read_hour(path) if record.raw in held] if held else []
    if kept:
        write_hour(kept, path.replace(".parquet", f"-{HELD}.parquet"))
    fsspec.core.url_to_fs(path)[0].rm(path)
    return len(kept)


def _remove_drafts(files: AbstractFileSystem, place: str, now: float) -> None:
    if not files.exists(place):
        return
    for name in files.ls(place, detail=False):
        if DRAFT in name and _age(files, name, now) > DRAFT_SECONDS:
            files.rm(name)


def _age(files: AbstractFileSystem, name: str, now: float) -> float:
    try:
        return now - files.modified(name).timestamp()
    except (NotImplementedError, OSError):
        return 0.0


def _forget_counts(store: Store, now: float) -> None:
    """Remove counts, labels and notes of writers that are as old."""
    before = now - store.settings.keep_days * DAY
    steps: list[tuple[str, list[dict[str, float]]]] = [
        ("DELETE FROM counts WHERE minute < :before", [{"before": int(before)}]),
        ("DELETE FROM losses WHERE hour < :before", [{"before": int(before)}]),
        ("DELETE FROM progress WHERE time < :before", [{"before": before}]),
        ("DELETE FROM labels WHERE time < :before", [{"before": before}]),
        ("DELETE FROM beats WHERE time < :before", [{"before": before}]),
        ("DELETE FROM exported WHERE time < :before", [{"before": before}]),
    ]
    try:
        store.database.write(steps)
    except StoreError as error:
        logger.warning("old counts are not removed: %s", error)
