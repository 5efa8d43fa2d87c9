"""The sinks by name: those that come with firstfault, and those of other distributions."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint

from firstfault import plugins
from firstfault.errors import PrerequisiteError, TargetError, told
from firstfault.interrupts import pass_on
from firstfault.probe.sinks.base import Sink

NAMES = {
    "json": "JsonLines",
    "tensorboard": "TensorBoard",
    "mlflow": "MLflow",
    "wandb": "WeightsAndBiases",
    "aim": "Aim",
    "clearml": "ClearML",
}


def sinks_named(names: Sequence[str]) -> list[Sink]:
    """The sinks of these names, each once.

    Raises:
        TargetError: for a name that is none of them.
        PrerequisiteError: when the package of one is not installed, or the sink of another distribution can't be made.
    """
    return [_sink(name) for name in dict.fromkeys(names)]


def _sink(name: str) -> Sink:
    from firstfault import sinks

    if name in NAMES:
        made: Sink = getattr(sinks, NAMES[name])()
        return made
    entries = plugins.found(plugins.SINKS)
    chosen = [entry for entry in entries if entry.name == name]
    if not chosen:
        known = ", ".join([*NAMES, *(entry.name for entry in entries if entry.name not in NAMES)])
        raise TargetError(f"--sink must be one of {known}, but got {name!r}")
    if len(chosen) > 1:
        both = " and ".join(map(plugins.distribution, chosen))
        raise TargetError(f"--sink {name} must be the sink of one distribution, but is one of {both}")
    return _made(chosen[0])


def _made(entry: EntryPoint) -> Sink:
    """The sink of another distribution; it was asked for by its name, so the run does not go on without it."""
    whose = f"--sink {entry.name} of {plugins.distribution(entry)}"
    try:
        made: Sink = entry.load()()
    except BaseException as error:
        pass_on(error)
        raise PrerequisiteError(f"{whose} must be a callable that makes a sink, but: {told(error)}") from error
    if not (callable(getattr(made, "write", None)) and callable(getattr(made, "close", None))):
        came = type(made).__name__
        raise PrerequisiteError(f"{whose} must make something with write and close, but made: {came}")
    return made
