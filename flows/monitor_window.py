"""The flow that records what was served since it last looked, from the logs that others write."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger

from firstfault.monitor.logged import read_logs
from firstfault.monitor.settings import settings_over_kept
from firstfault.runs.state import state_here


@flow(name="monitor-window", flow_run_name="monitor-window {source}", validate_parameters=True)
def monitor_window(source: str, store: str = "", model: str = "", sample: float | None = None) -> dict[str, int]:
    """Record the requests in the files of logs that are new or changed; what was found, in numbers.

    Wraps `firstfault.monitor.logged`: a path, a pattern or a folder, on any path that fsspec knows. The records lie
    in the store, by default `monitor` in the state folder. Runs every hour as the deployment `monitor-window`. Locally:
    `python -c "from firstfault.flows.monitor_window import monitor_window; monitor_window('data/served/*.jsonl')"`.
    """
    plain = "://" not in source and not Path(source).is_absolute()
    place = str(state_here().home.parent / source) if plain else source
    found = read_logs(settings_over_kept(store, model=model, sample=sample), place, {}, expected=False)
    get_run_logger().info("%s", found)
    return found._asdict()
