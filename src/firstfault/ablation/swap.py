"""A swap replaces one part of a target by a known-good one; this is the registry of them."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from firstfault import plugins
from firstfault.check import NO_STEPS
from firstfault.errors import Missing
from firstfault.faults import expect_known, known
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Recipe

PLACES = ("data", "preprocessing", "model", "training")


class Size(IntEnum):
    """How much of the user's code a swap changes: the value of a setting, a line, a part of the program."""

    SETTING = 1
    LINE = 2
    PART = 3


@dataclass(frozen=True)
class SwapKind:
    """One known-good replacement.

    `apply(subject)` returns the swapped recipe; it raises `Missing(reason)` where it doesn't apply to the subject.
    `change` says in words what it does, `undoes` names the faults that it repairs, `size` how large a change it is.
    `same_validation` tells that both models are judged on the swapped recipe's validation split (for swaps that clean
    the data), instead of each on its own. `replaces_loop` tells that the user's own `fit`
    is what is replaced: the swap is then compared with it, and not with its replay. `place` is where in the pipeline it
    works, from 0 for data; of the swaps of one `slot` a set holds one, as the later would undo the earlier.
    `from_guessing` tells that it repairs only a target that is no better than guessing. `parts` are the swaps of a set.
    """

    name: str
    change: str
    undoes: frozenset[str]
    apply: Callable[[Subject], Recipe]
    same_validation: bool = False
    size: Size = Size.LINE
    replaces_loop: bool = False
    place: int = 0
    slot: str = ""
    from_guessing: bool = False
    parts: tuple[SwapKind, ...] = ()

    @property
    def weight(self) -> tuple[int, int]:
        """What changes are ordered by, the smallest first: how many, then how large."""
        return max(1, len(self.parts)), sum(part.size for part in self.parts) or self.size


REGISTRY: dict[str, SwapKind] = {}


def swap(
    *,
    change: str,
    undoes: tuple[str, ...],
    same_validation: bool = False,
    size: Size = Size.LINE,
    replaces_loop: bool = False,
    slot: str = "",
    from_guessing: bool = False,
    name: str = "",
    estimators: bool | None = None,
) -> Callable[[Callable[[Subject], Recipe]], Callable[[Subject], Recipe]]:
    """Register a function `f(subject) -> Recipe` as the swap of a name, or named after it.

    `estimators` tells whether it applies to an estimator too; left out, it does where it changes the data.

    Raises:
        ValueError: for a name that another swap has, or a fault that nobody knows.
    """

    def register(function: Callable[[Subject], Recipe]) -> Callable[[Subject], Recipe]:
        known_as, module = name or function.__name__, function.__module__
        if plugins.owner(module) != plugins.OURS:
            _import_ours()  # so that it can't take a name of ours
        if known_as in REGISTRY and REGISTRY[known_as].apply.__module__ != module:
            raise ValueError(f"the swap {known_as!r} must have a name of its own, but there is one of that name")
        expect_known(undoes, f"the swap {known_as!r}")
        plugins.added(module, lambda: REGISTRY.pop(known_as))
        place = _place(module, undoes)
        any_model = place <= PLACES.index("preprocessing") if estimators is None else estimators
        REGISTRY[known_as] = SwapKind(
            known_as,
            change,
            frozenset(undoes),
            function if any_model else _of_gradients(function),
            same_validation,
            size,
            replaces_loop,
            place,
            slot or known_as,
            from_guessing,
        )
        return function

    return register


def _of_gradients(function: Callable[[Subject], Recipe]) -> Callable[[Subject], Recipe]:
    """A swap that raises Missing where the model is an estimator."""

    @functools.wraps(function)
    def apply(subject: Subject) -> Recipe:
        if not subject.target.by_gradients:
            raise Missing(NO_STEPS)
        return function(subject)

    return apply


def _place(module: str, undoes: Iterable[str]) -> int:
    """Where in the pipeline a swap works: by its module, if it is ours, else by the first layer that it repairs."""
    name = module.rpartition(".")[2]
    if plugins.owner(module) == plugins.OURS:
        return PLACES.index(name) if name in PLACES else len(PLACES)
    return min((kind.layer.rank for fault in undoes if (kind := known(fault))), default=len(PLACES))


@functools.cache
def _import_ours() -> None:
    """Import the modules of our swaps, and order them by module, whichever of them was imported first."""
    package = importlib.import_module("firstfault.ablation.swaps")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    ordered = sorted(REGISTRY.items(), key=lambda item: item[1].apply.__module__)
    REGISTRY.clear()
    REGISTRY.update(ordered)


@functools.cache
def swaps() -> dict[str, SwapKind]:
    """All swaps by name: from the modules of `firstfault.ablation.swaps`, and from other distributions."""
    _import_ours()
    plugins.load(plugins.SWAPS)
    return REGISTRY


def swaps_for(fault: str) -> list[SwapKind]:
    """The swaps that repair a fault."""
    return [kind for kind in swaps().values() if fault in kind.undoes]


def together(kinds: Iterable[SwapKind]) -> SwapKind:
    """A set of swaps as one, applied from the data upwards.

    Where the target has its own `fit`, the set is applied to its replay.
    """
    parts = tuple(sorted({kind.name: kind for kind in kinds}.values(), key=lambda kind: (kind.place, kind.name)))

    def apply(subject: Subject) -> Recipe:
        from firstfault.subject.replay import looped

        view = subject.with_recipe(looped(subject))
        for part in parts:
            view = view.with_recipe(part.apply(view))
        return view.recipe

    return SwapKind(
        " + ".join(part.name for part in parts),
        ", and ".join(part.change for part in parts),
        frozenset().union(*(part.undoes for part in parts)),
        apply,
        any(part.same_validation for part in parts),
        Size.PART,
        parts=parts,
    )
