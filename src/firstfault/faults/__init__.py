"""Every fault id: the layer it belongs to, what is wrong, and the remedy when a finding offers none better."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

from firstfault import plugins
from firstfault.faults import data, deployment, model, preprocessing, safety, training
from firstfault.finding import Layer
from firstfault.texts import nearest


class FaultKind(NamedTuple):
    """One row of the fault reference.

    A fault with `served` is one of deployment where only serving does it.
    """

    layer: Layer
    wrong: str
    remedy: str
    served: bool = False


_TABLES = {
    Layer.DATA: data.FAULTS,
    Layer.PREPROCESSING: preprocessing.FAULTS,
    Layer.MODEL: model.FAULTS,
    Layer.TRAINING: training.FAULTS,
    Layer.DEPLOYMENT: deployment.FAULTS,
    Layer.SAFETY: safety.FAULTS,
}
FAULTS: dict[str, FaultKind] = {
    name: FaultKind(layer, wrong, remedy, name in preprocessing.BY_SERVING)
    for layer, rows in _TABLES.items()
    for name, (wrong, remedy) in rows.items()
}

EXPLAINS: dict[str, frozenset[str]] = {
    **data.EXPLAINS,
    **preprocessing.EXPLAINS,
    **model.EXPLAINS,
    **training.EXPLAINS,
    **deployment.EXPLAINS,
}
"""By cause, the faults of the same layer that it brings about: they are folded under it."""

SERVED: dict[str, Layer] = {"train_serve_skew": Layer.PREPROCESSING, "label_drift": Layer.TRAINING}
"""Faults that belong to another layer in an incident: it is told by the cut at which it shows."""

SYMPTOMS = frozenset(
    {
        "stalled",
        "diverged",
        "oscillating",
        "nonfinite_loss",
        "exploding_gradient",
        "vanishing_gradient",
        "user_code_raises",
    }
)
"""Faults that describe what is seen; they are listed only when no cause is found."""


def fault(name: str, *, layer: Layer, wrong: str, remedy: str, explains: Iterable[str] = ()) -> None:
    """Add a fault to the reference, from a module that an entry point of `firstfault.faults` names.

    Args:
        name: the id, as a verdict prints it.
        layer: the layer it belongs to.
        wrong: what is wrong, as half a sentence: "part of the labels are wrong".
        remedy: what to do, where a finding offers nothing better.
        explains: faults of the same layer that it brings about; they are folded under it.

    Raises:
        ValueError: for an id that there is already, a text that is empty, or a fault that can't be explained by it.
    """
    if name in FAULTS or not name.isidentifier():
        raise ValueError(f"a fault's id must be a name that is not taken, but got {name!r}")
    if not (wrong and remedy):
        raise ValueError(f"the fault {name!r} must say what is wrong and what to do, but got {wrong!r} and {remedy!r}")
    expect_known(explained := frozenset(explains), f"the fault {name!r}")
    if others := sorted(each for each in explained if FAULTS[each].layer is not layer):
        raise ValueError(f"the fault {name!r} must explain faults of its own layer, but explains {', '.join(others)}")
    FAULTS[name], EXPLAINS[name] = FaultKind(layer, wrong, remedy), explained
    module = sys._getframe(1).f_globals["__name__"]
    plugins.added(module, lambda: (FAULTS.pop(name), EXPLAINS.pop(name)))


def known(name: str) -> FaultKind | None:
    """A fault of the reference, or of another distribution; None for any other id, and for `user_code_raises`."""
    if name not in FAULTS and name not in SYMPTOMS:
        plugins.load(plugins.FAULTS)
    return FAULTS.get(name)


def expect_known(names: Iterable[str], whose: str) -> None:
    """Expect ids of faults.

    Raises:
        ValueError: for one that is none.
    """
    for name in names:
        if name not in SYMPTOMS and known(name) is None:
            raise ValueError(f"{whose} must name known faults, but names {name!r}{nearest(name, FAULTS)}")


def layer_of(fault: str, default: Layer) -> Layer:
    """The layer a fault belongs to; `default` for `user_code_raises`, which can occur in any.

    What only serving does is deployment's, where that is the layer in which it was seen.
    """
    kind = known(fault)
    return default if kind is None or (kind.served and default is Layer.DEPLOYMENT) else kind.layer


def remedy_of(fault: str) -> str:
    """The general remedy of a fault."""
    kind = known(fault)
    return kind.remedy if kind is not None else "make the code run; the evidence holds the exception"
