"""A swap replaces one part of a target by a known-good one; this is the registry of them."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from firstfault.recipe import Recipe


@dataclass(frozen=True)
class SwapKind:
    """One known-good replacement.

    `apply(subject)` returns the swapped recipe; it raises `Missing(reason)` where it doesn't apply to the
    subject. `change` says in words what it does, `undoes` names the faults that it repairs.
    `same_validation` tells that both models are judged on the swapped recipe's validation split
    (for swaps that clean the data), instead of each on its own.
    """

    name: str
    change: str
    undoes: frozenset[str]
    apply: Callable[[Any], Recipe]
    same_validation: bool = False


REGISTRY: dict[str, SwapKind] = {}


def swap(
    *, change: str, undoes: tuple[str, ...], same_validation: bool = False
) -> Callable[[Callable[[Any], Recipe]], Callable[[Any], Recipe]]:
    """Register a function `f(subject) -> Recipe` as the swap named after it."""

    def register(function: Callable[[Any], Recipe]) -> Callable[[Any], Recipe]:
        name = function.__name__
        REGISTRY[name] = SwapKind(name, change, frozenset(undoes), function, same_validation)
        return function

    return register


@functools.cache
def swaps() -> dict[str, SwapKind]:
    """All swaps by name, from the modules of `firstfault.ablation.swaps`."""
    package = importlib.import_module("firstfault.ablation.swaps")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return REGISTRY


def swaps_for(fault: str) -> list[SwapKind]:
    """The swaps that repair a fault."""
    return [kind for kind in swaps().values() if fault in kind.undoes]
