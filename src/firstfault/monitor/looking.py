"""One look for incidents, and what follows it: receivers are told, and what has closed becomes cases."""

from __future__ import annotations

from pathlib import Path

from firstfault.behaviour.cases import Case
from firstfault.monitor.detect.running import Found, Run
from firstfault.monitor.exporters.alerts import tell


def look(run: Run, target: str = "") -> tuple[Found, list[Case]]:
    """What a look found, and the cases that were kept, where the monitor's settings name a folder for them.

    Args:
        run: detection over a store.
        target: the target that is served, the offline truth of a case; "" where there is none.

    Raises:
        StoreError: when the store's database doesn't answer.
    """
    found, settings = run.once(), run.store.settings
    for incident in (*found.opened, *found.closed):
        tell(incident, settings)
    if not (found.closed and settings.cases):
        return found, []
    from firstfault.monitor.keeping import keep_closed

    return found, keep_closed(run.store, found.closed, target, Path(settings.cases))
