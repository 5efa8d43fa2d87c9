"""Random generators of the user's own, found through the functions that can reach them."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch

KINDS = (np.random.Generator, np.random.RandomState, random.Random, torch.Generator)
FOREIGN = ("torch", "numpy", "sklearn", "pandas", "builtins", "torchvision", "firstfault")
DEEPEST = 4  # steps from a setting to its generator, as in partial → method → object → attribute: bounds the search
MOST_ENTRIES = 50  # of one object or collection: bounds the search
LONGEST_SEED = 2**64  # NumPy draws 128 bits from the operating system; a seed in code is rarely longer than 64
TORCH_DEFAULT = 67280421310721  # the seed of a torch generator that nobody has seeded


def generators_of(parts: Sequence[Any]) -> dict[str, Any]:
    """The generators that functions reach by their closures, globals, defaults, arguments and objects, by name."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    for part in parts:
        for name, value in _reached("", part, seen, 0):
            found.setdefault(name, value)
    return found


def _reached(name: str, value: Any, seen: set[int], depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, KINDS):
        yield name or type(value).__name__, value
        return
    if (
        depth > DEEPEST
        or id(value) in seen
        or isinstance(value, str | int | float | bytes | np.ndarray | torch.Tensor | None)
    ):
        return
    seen.add(id(value))
    for key, inner in _within(value):
        yield from _reached(key, inner, seen, depth + 1)


def _within(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, functools.partial):
        yield from (("", value.func), *(("", entry) for entry in value.args), *value.keywords.items())
    elif isinstance(value, MethodType):
        yield from (("", value.__self__), ("", value.__func__))
    elif isinstance(value, FunctionType):
        if value.__module__ is None or value.__module__.split(".")[0] not in FOREIGN:
            yield from _of_function(value)
    elif isinstance(value, dict):
        yield from ((str(key), entry) for key, entry in list(value.items())[:MOST_ENTRIES])
    elif isinstance(value, list | tuple):
        yield from (("", entry) for entry in value[:MOST_ENTRIES])
    elif type(value).__module__.split(".")[0] not in FOREIGN or isinstance(value, torch.nn.Module):
        yield from list(getattr(value, "__dict__", {}).items())[:MOST_ENTRIES]
        methods = vars(value if isinstance(value, type) else type(value)).values()
        yield from (("", method) for method in methods if isinstance(method, FunctionType))


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a cell that is not filled yet
            continue
    yield from (("", entry) for entry in function.__defaults__ or ())
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _names(code: CodeType) -> set[str]:
    """The global names that a function uses, those of functions within it too."""
    return set(code.co_names).union(*(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def state_of(generator: Any) -> Any:
    """A copy of a generator's state, which compares by `same_state`."""
    if isinstance(generator, np.random.Generator):
        return copy.deepcopy(generator.bit_generator.state)
    if isinstance(generator, torch.Generator | np.random.RandomState):
        return copy.deepcopy(generator.get_state())
    return generator.getstate()


def put_back(generator: Any, state: Any) -> None:
    """Give a generator a state that it had."""
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = copy.deepcopy(state)
    elif isinstance(generator, torch.Generator | np.random.RandomState):
        generator.set_state(state)
    else:
        generator.setstate(state)


def same_state(first: Any, second: Any) -> bool:
    """Whether two states are equal."""
    return repr(first) == repr(second) if not isinstance(first, torch.Tensor) else torch.equal(first, second)


def is_seeded(generator: Any) -> bool:
    """Whether a generator seems to have a seed that was written down; False where it can't be told."""
    if isinstance(generator, torch.Generator):
        return generator.initial_seed() == TORCH_DEFAULT or 0 <= generator.initial_seed() < 2**32
    if isinstance(generator, np.random.Generator):
        entropy = getattr(generator.bit_generator.seed_seq, "entropy", None)
        return isinstance(entropy, list | tuple) or (isinstance(entropy, int) and entropy < LONGEST_SEED)
    return False
