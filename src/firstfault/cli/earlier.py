"""The earlier cases that are like a new incident, and where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstfault.cli.options import say

if TYPE_CHECKING:
    from firstfault.monitor.store import Store


def cases_folder(store: Store, target: str) -> Path:
    """The folder of the cases: what the monitor's settings say, else `cases` beside the target, or in this folder."""
    from firstfault.behaviour.cases import FOLDER
    from firstfault.target.loader import split_spec
    from firstfault.target.locate import locate

    if store.settings.cases:
        return Path(store.settings.cases)
    place = Path(split_spec(locate(target))[0]) if target else Path("-")
    return (place if place.is_dir() else place.parent) / FOLDER


def tell_similar(store: Store, id_: str, verdict: dict[str, Any], target: str) -> None:
    """Say which earlier cases an incident is like, where there are any."""
    from firstfault.behaviour.cases import cases_in
    from firstfault.monitor.incidents import Incidents
    from firstfault.monitor.similar import nearest

    found, folder = Incidents(store.database).get(id_), cases_folder(store, target)
    if found is None or not folder.is_dir():
        return
    for each in nearest(found, verdict, (case for _, case in cases_in(folder))):
        say(f"like an earlier one: {each}")
