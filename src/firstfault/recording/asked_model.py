"""The language model that a place names, as it can be asked: a target, a function, a log of Inspect, a version."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firstfault.errors import TargetError
from firstfault.target.declaration import Safety, Target
from firstfault.target.language_model import LM
from firstfault.texts import nearest

if TYPE_CHECKING:
    from firstfault.behaviour.asking import Generate

REGISTERED = "models:/"
"""How the address of a version in MLflow's registry begins."""


@dataclass(frozen=True)
class AskedModel:
    """A function prompt -> text, and where there is one the language model behind it, whose folders lie at `root`."""

    generate: Generate
    lm: LM | None = None
    root: Path = Path()


def asked_model(spec: str) -> AskedModel:
    """The model of `file.py:name` or `module:name`, of a log of Inspect, or of a registered version `models:/NAME/1`.

    Raises:
        TargetError: when there is none, or it can't be asked with a prompt alone.
    """
    from firstfault.behaviour.formats.inspect_log import replay
    from firstfault.target.loader import import_place, split_spec

    if spec.startswith(REGISTERED):
        from firstfault.tracking.registry import generate_of_version

        return AskedModel(generate_of_version(spec))
    if spec.endswith((".json", ".eval")):
        return AskedModel(replay(Path(spec)))
    place, name = split_spec(spec)
    module, file = import_place(place)
    if not hasattr(module, name):
        raise TargetError(f"{file.name} has no {name!r}{nearest(name, list(vars(module)))}")
    return asked(getattr(module, name), file.parent, spec)


def asked(declared: Any, root: Path, name: str = "the model") -> AskedModel:
    """The model that a target, a Safety, an LM or a function prompt -> text is.

    Raises:
        TargetError: for anything else, and for a function that can't be called with a prompt alone.
    """
    from firstfault.behaviour.generation import generate_of

    lm = declared
    if isinstance(declared, Target) and (declared.safety is None or declared.safety.generate is None):
        lm = declared.lm
    if isinstance(lm, LM):
        return AskedModel(generate_of(lm, root), lm, root)
    safety = declared.safety if isinstance(declared, Target) else declared
    generate = safety.generate if isinstance(safety, Safety) else declared
    if generate is None or isinstance(generate, Target) or not callable(generate):
        raise TargetError(f"{name} must be a function prompt -> text, or a target or Safety with one as its generate")
    try:
        signature(generate).bind("a prompt")
    except TypeError as error:
        raise TargetError(
            f"{name} must be called with a prompt alone; what takes the model too is run by debug"
        ) from error
    except ValueError:  # it has no signature that could be asked
        pass
    return AskedModel(generate, declared.lm if isinstance(declared, Target) else None, root)
