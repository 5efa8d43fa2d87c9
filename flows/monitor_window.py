"""The flow that records what was served since it last looked, from the logs that others write."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger

from firstfault.monitor.detect.locking import alone
from firstfault.monitor.logged import read_logs
from firstfault.monitor.settings import Settings, settings_over_kept
from firstfault.monitor.store import Store
from firstfault.runs.state import state_here


@flow(name="monitor-window", flow_run_name="monitor-window {source}", validate_parameters=True)
def monitor_window(source: str, store: str = "", model: str = "", sample: float | None = None) -> dict[str, int]:
    """Record the requests in the files of logs that are new or changed, and look for incidents; what was found.

    Wraps `firstfault.monitor.logged` and `firstfault.monitor.detect`: a path, a pattern or a folder, on any path that
    fsspec knows. The records lie in the store, by default `monitor` in the state folder, and so do the incidents. Runs
    every hour as the deployment `monitor-window`. Locally:
    `python -c "from firstfault.flows.monitor_window import monitor_window; monitor_window('data/served/*.jsonl')"`.

    Args:
        source: a file, a pattern or a folder of logs; a relative one lies beside the state folder.
        store: the folder of the records; `monitor` in the state folder if empty.
        model: the model's name where a row says none.
        sample: the share of the usual requests that is kept, 0 to 1; 0.05 if none.
    """
    plain = "://" not in source and not Path(source).is_absolute()
    place = str(state_here().home.parent / source) if plain else source
    settings = settings_over_kept(store, model=model, sample=sample)
    found = read_logs(settings, place, {}, expected=False)
    get_run_logger().info("%s", found)
    return {**found._asdict(), **_incidents(settings)}


def _incidents(settings: Settings) -> dict[str, int]:
    """How many incidents opened, closed and are open; nothing where another process looks for them already."""
    from firstfault.monitor.detect.running import Run
    from firstfault.monitor.detect.settings import Detection
    from firstfault.monitor.looking import look

    kept = Store(settings)
    with alone(kept) as we_are:
        if not we_are:
            get_run_logger().info("another process looks for incidents in %s", settings.folder)
            return {}
        found, _ = look(Run(kept, Detection()))
    for incident in (*found.opened, *found.closed):
        get_run_logger().warning(
            "%s %s: %s", "opened" if incident.closed is None else "closed", incident.id, incident.message
        )
    return {"opened": len(found.opened), "closed": len(found.closed), "open": len(found.open)}
