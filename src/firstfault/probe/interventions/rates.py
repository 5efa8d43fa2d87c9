"""Other steps: the rate of every optimizer, its pace, its kind, its decay."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

from firstfault.probe.interventions.hooks import around_steps, optimizers_made
from firstfault.probe.interventions.intervention import Done, intervention
from firstfault.probe.record import Record

ADAMS_RATE = 1e-3
"""Adam's own default (Kingma & Ba 2015)."""
ADAMS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam)
"""The optimizers of Adam's kind: they differ in how they begin and decay, not in the size of a step."""


@contextlib.contextmanager
def _settings(name: str, change: Callable[[Any, Any], Any]) -> Iterator[None]:
    """A setting of every optimizer's groups during its steps; between them it is what the user's code made of it."""
    kept: dict[int, list[tuple[Any, Any]]] = {}

    def before(optimizer: Any) -> None:
        kept[id(optimizer)] = [(group, group[name]) for group in optimizer.param_groups if name in group]
        for group, value in kept[id(optimizer)]:
            group[name] = change(optimizer, value)

    def after(optimizer: Any) -> None:
        for group, value in kept.pop(id(optimizer), []):
            group[name] = value

    with around_steps(before, after):
        yield


def _scaled(factor: float, done: Done) -> Iterator[None]:
    largest: dict[str, float] = {}  # a schedule begins with others
    met: weakref.WeakSet[Any] = weakref.WeakSet()

    def change(optimizer: Any, rate: Any) -> Any:
        kind = type(optimizer).__name__
        if optimizer not in met:  # its first step has the rate of its construction, but for a schedule
            met.add(optimizer)
            for group in optimizer.param_groups:
                done.set("lr", float(group["lr"]) * factor)
        if float(rate) > largest.get(kind, -1.0):
            largest[kind] = float(rate)
            done.changes[kind] = f"{kind}'s lr {float(rate):.3g} → {float(rate) * factor:.3g}"
        return rate * factor

    with _settings("lr", change):
        yield


def _planned(factor: float, record: Record) -> str:
    """The rate in numbers, where there was one optimizer."""
    if len(record.optimizers) != 1 or not record.lr:
        return ""
    rate = max(record.lr.values)
    return f"{record.optimizers[0]}'s lr {rate:.3g} → {rate * factor:.3g}"


for _name, _factor, _change, _fault in (
    ("tenth_rate", 0.1, "learning rate ÷ 10", "learning_rate_too_high"),
    ("hundredth_rate", 0.01, "learning rate ÷ 100", "learning_rate_too_high"),
    ("thousandth_rate", 0.001, "learning rate ÷ 1000", "learning_rate_too_high"),
    ("tenfold_rate", 10.0, "learning rate × 10", "learning_rate_too_low"),
    ("hundredfold_rate", 100.0, "learning rate × 100", "learning_rate_too_low"),
):
    intervention(name=_name, change=_change, undoes=(_fault,), planned=functools.partial(_planned, _factor))(
        functools.partial(_scaled, _factor)
    )


@intervention(change="the rate with which the optimizer was made, in every step", undoes=("scheduler_misuse",))
def no_schedule(done: Done) -> Iterator[None]:
    """No scheduler: whatever the loop makes of the rates, a step is made with those of the construction."""
    first: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()

    def made(optimizer: Any) -> None:
        first[optimizer] = [group.get("lr") for group in optimizer.param_groups]

    def before(optimizer: Any) -> None:
        for group, rate in zip(optimizer.param_groups, first.get(optimizer, []), strict=False):
            if rate is not None and float(group["lr"]) != float(rate):
                kind = type(optimizer).__name__
                done.note(f"{kind}'s lr stays at {float(rate):.3g}", kind)
                group["lr"] = rate

    with optimizers_made(made), around_steps(before):
        yield


@intervention(change="no weight decay", undoes=("over_regularised",), on_validation=True)
def no_decay(done: Done) -> Iterator[None]:
    """No optimizer draws the weights to zero."""

    def change(optimizer: Any, decay: Any) -> Any:
        if decay:
            done.note(f"{type(optimizer).__name__}'s weight_decay {float(decay):.3g} → 0", type(optimizer).__name__)
            done.set("weight_decay", 0.0)
        return 0.0 if decay else decay

    with _settings("weight_decay", change):
        yield


@intervention(change=f"Adam at {ADAMS_RATE}", undoes=("wrong_optimizer",))
def adam(done: Done) -> Iterator[None]:
    """Adam with its default rate makes the steps of every optimizer that is not of its kind."""
    inside = [False]

    def made(optimizer: Any) -> None:
        if not inside[0] and not isinstance(optimizer, ADAMS):
            done.note(f"Adam at {ADAMS_RATE} in place of {type(optimizer).__name__}", type(optimizer).__name__)
            done.set("optimizer", "Adam")
            done.set("lr", ADAMS_RATE)
            optimizer.step = functools.partial(_step_of_adam, optimizer, inside)

    with optimizers_made(made):
        yield


def _step_of_adam(optimizer: Any, inside: list[bool], closure: Any = None, **others: Any) -> Any:
    """A step of an Adam of its own over what an optimizer holds now."""
    held = [value for group in optimizer.param_groups for value in group["params"]]
    shadow = getattr(optimizer, "_firstfault_adam", None)
    if shadow is None or len(shadow.param_groups[0]["params"]) != len(held):
        inside[0] = True
        try:
            shadow = optimizer._firstfault_adam = torch.optim.Adam(held, lr=ADAMS_RATE)
        finally:
            inside[0] = False
    return shadow.step(closure)
