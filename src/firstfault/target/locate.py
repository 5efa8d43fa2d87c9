"""Where a target is that was named by a relative path."""

from __future__ import annotations

import os
from pathlib import Path

from firstfault.target.loader import is_path, split_spec


def locate(spec: str) -> str:
    """A target's path as an absolute one; a relative path is looked up here, then beside the state folder.

    A worker runs flows in a folder of its own, so that `target.py` means the one beside `.firstfault`.
    """
    place, name = split_spec(spec)
    if not is_path(place) or Path(place).is_absolute():
        return spec
    home = os.environ.get("FIRSTFAULT_HOME")
    below = Path(home).parent / place if home else Path(place)
    path = Path(place) if Path(place).exists() or not below.exists() else below
    return f"{path.resolve()}:{name}"
