"""One process at a time detects over a store: a lock that the kernel lets go of with its holder."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator

from firstfault.monitor.store import Store

LOCK = "detect.lock"


@contextlib.contextmanager
def alone(store: Store) -> Iterator[bool]:
    """Whether no other process of this machine detects over the store; none begins to within the block."""
    store.settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (store.settings.folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
