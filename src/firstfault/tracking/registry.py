"""Language models among MLflow's registered models: those that are new, and one of them as a function that answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstfault.errors import PrerequisiteError, TargetError, told
from firstfault.interrupts import pass_on
from firstfault.output.whole_files import write_json
from firstfault.runs.login import log_in
from firstfault.runs.state import State, state_here
from firstfault.tracking.runs import brief
from firstfault.tracking.store import expect_store, prepare_store

MESSAGES = "messages"
"""The input of a chat model, as MLflow's own flavours name it."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    number: int

    @property
    def uri(self) -> str:
        """The address by which it is asked."""
        return f"models:/{self.name}/{self.number}"


def new_versions(state: State, memory: Path, name: str = "") -> list[Version]:
    """The latest version of each language model, or of the one of this name, that is later than what was seen last.

    A model that takes no text is passed over: it has no behaviour of this kind.

    Raises:
        PrerequisiteError: when the store does not answer.
    """
    known = _seen(memory)
    found = [version for version in _latest(state, name) if version.number > known.get(version.name, 0)]
    return [version for version in found if takes_text(version.uri)]


def remember(version: Version, memory: Path) -> None:
    """Say that a version has been seen."""
    write_json(memory, {**_seen(memory), version.name: version.number})


def _seen(memory: Path) -> dict[str, int]:
    try:
        return {str(name): int(number) for name, number in json.loads(memory.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _latest(state: State, name: str) -> list[Version]:
    client = _client(state)
    try:
        found = client.search_model_versions(f"name = '{name}'" if name else "", max_results=1000)
    except Exception as error:
        raise PrerequisiteError(f"MLflow's registry at {state.mlflow_uri} must answer, but: {brief(error)}") from error
    latest: dict[str, int] = {}
    for each in found:
        latest[each.name] = max(latest.get(each.name, 0), int(each.version))
    return [Version(*each) for each in sorted(latest.items())]


def _client(state: State) -> Any:
    """A client of the state's store, which is that of the process from then on: models are loaded by it."""
    expect_store(state)
    prepare_store(state)
    log_in(state)
    import mlflow

    mlflow.set_tracking_uri(state.mlflow_uri)
    return mlflow.MlflowClient(tracking_uri=state.mlflow_uri)


def takes_text(uri: str) -> bool:
    """Whether a model takes a text or messages, by its signature; one without a signature may."""
    from mlflow.models import get_model_info

    try:
        signature = get_model_info(uri).signature
    except Exception as error:
        pass_on(error)
        return False
    if signature is None or signature.inputs is None:
        return True
    names = signature.inputs.input_names() if signature.inputs.has_input_names() else []
    if MESSAGES in names:
        return True
    kinds = [] if signature.inputs.is_tensor_spec() else [str(kind) for kind in signature.inputs.input_types()]
    return len(kinds) == 1 and kinds[0].endswith("string")


def generate_of_version(uri: str) -> Callable[[str], str]:
    """A function prompt -> text that asks a registered version, `models:/NAME/VERSION` or `models:/NAME@ALIAS`.

    Raises:
        TargetError: when there is no such version, or it takes no text.
    """
    _client(state_here())
    import mlflow.pyfunc

    try:
        model = mlflow.pyfunc.load_model(uri, suppress_warnings=True)
    except Exception as error:
        raise TargetError(f"{uri} must be a version in MLflow's registry that loads, but: {told(error)}") from error
    if not takes_text(uri):
        raise TargetError(f"{uri} must take a text or messages, but its signature asks for something else")
    schema = model.metadata.get_input_schema()
    names = schema.input_names() if schema is not None and schema.has_input_names() else []

    def generate(prompt: str) -> str:
        return text_in(model.predict(_asked(prompt, names)))

    return generate


def _asked(prompt: str, names: list[str]) -> Any:
    if MESSAGES in names:
        return {MESSAGES: [{"role": "user", "content": prompt}]}
    if not names:
        return [prompt]
    import pandas as pd

    return pd.DataFrame({names[0]: [prompt]})


def text_in(value: Any) -> str:
    """The text in what a model predicts: in a chat completion its message, else the first of what there is."""
    while not isinstance(value, str):
        if hasattr(value, "iloc"):
            value = value.iloc[0]
        elif isinstance(value, dict):
            value = next((value[key] for key in ("choices", "message", "content", "text") if key in value), None)
        elif hasattr(value, "__getitem__") and len(value):
            value = value[0]
        else:
            return "" if value is None else str(value)
    return value
