"""The models of a training: found by their calls, with a name for every module and parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from firstfault.probe.replica import unwrapped

MODES_MATTER = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, nn.AlphaDropout)


class Models:
    """The outermost modules that were called, and the names of what is in them.

    With one model a parameter has the name that the model gives it, whatever wraps the model; with several, the class
    of its model comes first.
    """

    def __init__(self) -> None:
        self.roots: dict[int, nn.Module] = {}
        self.names: dict[int, str] = {}  # by id of a parameter
        self.modules: dict[int, str] = {}  # by id of a module
        self.start: dict[str, torch.Tensor] = {}
        self.parameters: dict[str, nn.Parameter] = {}
        self.leaves: list[tuple[str, nn.Module]] = []
        """The modules without children of their own, at the last look."""
        self.attention: list[tuple[str, nn.Module]] = []
        """Those of multi-head attention."""
        self._prefixes: dict[int, str] = {}

    def add(self, model: nn.Module) -> bool:
        """Take in a model; whether it is new. A module inside a known model is none."""
        if id(model) in self.roots or id(model) in self.modules:
            return False
        inner = {id(module) for module in model.modules()}
        for key in [key for key in self.roots if key in inner]:  # a part was called before the whole
            del self.roots[key]
        self.roots[id(model)] = model
        self._prefixes[id(model)] = self._prefix(model)
        self.look()
        return True

    def _prefix(self, model: nn.Module) -> str:
        if not self._prefixes:
            return ""
        name = getattr(model, "_get_name", lambda: type(model).__name__)()
        taken = set(self._prefixes.values())
        return next(text for number in range(1, 99) if (text := f"{name}{'' if number == 1 else number}.") not in taken)

    def look(self) -> None:
        """Learn modules and parameters that were made since: lazy layers have shapes only after the first call."""
        self.leaves, self.attention = [], []
        for key, model in self.roots.items():
            prefix, hookable = self._prefixes[key], not is_compiled(model)
            within = {id(module): name for name, module in unwrapped(model).named_modules()}
            for outer, module in model.named_modules():
                name = within.get(id(module), outer)
                own = f"{prefix}{name}" if name else prefix.rstrip(".") or type(model).__name__
                known = self.modules.setdefault(id(module), own)
                if hookable and next(module.children(), None) is None:
                    self.leaves.append((known, module))
                if hookable and isinstance(module, nn.MultiheadAttention):
                    self.attention.append((known, module))
                for part, value in module._parameters.items():  # named_parameters() would walk through them once more
                    if value is not None and id(value) not in self.names and not _is_lazy(value):
                        self._name(f"{prefix}{name}.{part}" if name else f"{prefix}{part}", value)

    def adopt(self, values: list[Any], owner: str) -> None:
        """Name tensors that an optimizer holds, and no model does."""
        for number, value in enumerate(values):
            if id(value) not in self.names and not _is_lazy(value):
                self._name(f"{owner}.{number}", value)

    def _name(self, name: str, value: Any) -> None:
        self.names[id(value)] = name
        self.parameters[name] = value
        self.start[name] = local(value.detach()).clone()

    def moved(self) -> dict[str, float]:
        """‖w − w_start‖ / ‖w_start‖ by parameter."""
        return {
            name: float((now - start).norm()) / max(float(start.norm()), 1e-8)
            for name, start in self.start.items()
            if (now := local(self.parameters[name].detach())).shape == start.shape and not start.is_meta
        }


def _is_lazy(value: Any) -> bool:
    return isinstance(value, nn.parameter.UninitializedParameter)


def is_compiled(model: nn.Module) -> bool:
    """Whether `torch.compile` made this module: hooks inside it would break its graph."""
    return type(model).__name__ == "OptimizedModule"


def local(value: Any) -> torch.Tensor:
    """What this process has of a tensor that is sharded over several: for the whole, all would have to wait."""
    return value.to_local() if is_sharded(value) else value  # type: ignore[no-any-return]


def is_sharded(value: torch.Tensor) -> bool:
    """Whether a tensor is spread over processes, as fully_shard and tensor parallelism do."""
    return hasattr(value, "to_local")


def modal_parts(model: nn.Module) -> list[nn.Module]:
    """The modules that behave otherwise in train mode than in eval mode."""
    return [module for module in model.modules() if isinstance(module, MODES_MATTER)]
