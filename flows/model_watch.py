"""The flow that looks for new versions of registered language models, and tells the automations of them."""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.events import emit_event

from firstfault.output.file_names import key_of
from firstfault.runs.state import state_here
from firstfault.tracking.registry import Version, new_versions, remember


@flow(name="model-watch", flow_run_name="model-watch", validate_parameters=True)
def model_watch(model: str = "") -> list[str]:
    """Look at MLflow's registry, and emit `firstfault.model.registered` once per new version of a language model.

    Wraps `firstfault.tracking.registry`; with `model`, that one alone is looked at. The versions seen are kept in the
    state folder (`models.json`); of a model that was never seen, the latest is new. Runs every five minutes as the
    deployment `model-watch`; the event starts `on-new-model`. Locally:
    `python -c "from firstfault.flows.model_watch import model_watch; model_watch()"`.
    """
    state = state_here()
    memory = state.home / "models.json"
    found = new_versions(state, memory, model)
    for version in found:
        _announce(version)
        remember(version, memory)
    get_run_logger().info("%d new versions of language models", len(found))
    return [version.uri for version in found]


def _announce(version: Version) -> None:
    emit_event(
        event="firstfault.model.registered",
        resource={
            "prefect.resource.id": f"firstfault.model.{key_of(version.name)}",
            "prefect.resource.name": f"{version.name} {version.number}",
            "uri": version.uri,
        },
    )
