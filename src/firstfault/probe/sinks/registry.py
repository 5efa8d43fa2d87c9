"""The sinks that come with firstfault, by name."""

from __future__ import annotations

from collections.abc import Sequence

from firstfault.errors import TargetError
from firstfault.probe.sinks.base import Sink

NAMES = {"json": "JsonLines", "tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "WeightsAndBiases"}


def sinks_named(names: Sequence[str]) -> list[Sink]:
    """The sinks of these names, each once.

    Raises:
        TargetError: for a name that is none of them.
        PrerequisiteError: when the package of one is not installed.
    """
    return [_sink(name) for name in dict.fromkeys(names)]


def _sink(name: str) -> Sink:
    from firstfault import sinks

    if name not in NAMES:
        raise TargetError(f"--sink must be one of {', '.join(NAMES)}, but got {name!r}")
    made: Sink = getattr(sinks, NAMES[name])()
    return made
