"""The flow that looks for new data, and tells the automations of it."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.events import emit_event

from firstfault.data.new_data import Content, new_contents, remember
from firstfault.runs.state import state_here
from firstfault.target.locate import locate


@flow(name="dataset-watch", flow_run_name="dataset-watch {source}", validate_parameters=True)
def dataset_watch(source: str, target: str = "target.py", query: str | None = None) -> list[str]:
    """Look at a path, a glob or (with `query`) a database, and emit `dataset.new` once per new content.

    Wraps `firstfault.data.new_data`. The digests seen are kept in the state folder (`datasets.json`). Runs
    every minute as the deployment `dataset-watch`; the event starts `on-new-dataset`. Locally:
    `python -c "from firstfault.flows.dataset_watch import dataset_watch; dataset_watch('data/*.csv')"`.
    """
    state = state_here()
    place = source if query or Path(source).is_absolute() else str(state.home.parent / source)
    memory = state.home / "datasets.json"
    found = new_contents(place, memory, query=query)
    for content in found:
        _announce(content, target, query, place)
        remember(content, memory)
    get_run_logger().info("%d new data sets in %s", len(found), source)
    return [content.uri for content in found]


def _announce(content: Content, target: str, query: str | None, place: str) -> None:
    emit_event(
        event="dataset.new",
        resource={
            "prefect.resource.id": f"dataset.{content.digest[:16]}",
            "prefect.resource.name": Path(content.uri).name,
            "uri": place if query else content.uri,
            "target": locate(target),
            "digest": content.digest,
        },
    )
