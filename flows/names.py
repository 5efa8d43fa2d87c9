"""Short names of flow runs, which a list can show."""

from __future__ import annotations

from pathlib import Path


def run_name() -> str:
    """The name of the flow run that is on: its flow, and its target in a word."""
    from prefect.runtime import flow_run

    return f"{flow_run.flow_name} {short(str(flow_run.parameters['target']))}"


def short(target: str) -> str:
    """A target in a word: its file, or the folder of one that is called `target.py`.

    `churn` for `/team/churn/target.py:target`, `fraud` for `models/fraud.py`, `chat 3` for the
    registered version `models:/chat/3`.
    """
    if target.startswith("models:/"):
        return target.removeprefix("models:/").replace("/", " ")
    path = Path(target.rpartition(":")[0] or target)
    return path.parent.name or path.stem if path.stem == "target" else path.stem
