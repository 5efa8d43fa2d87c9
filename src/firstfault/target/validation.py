"""What the arguments of a declaration must be, and the sentence where they are not."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from firstfault.errors import TargetError
from firstfault.target.estimators import is_estimator, unsupported
from firstfault.texts import nearest, shown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")
ACTIONS = ("log", "alert", "checkpoint", "stop")
"""What can be done about a finding while a training runs, by name."""


def expect(holds: bool, name: str, value: Any, expected: str) -> None:
    """What `name` must be.

    Raises:
        TargetError: where it does not hold.
    """
    if not holds:
        raise TargetError(f"{name} must be {expected}, but got {_brief(value)}")


def configured(kind: type[C], given: C | Mapping[str, Any] | None) -> C:
    """A configuration, as it is given or made of a mapping of its settings.

    Raises:
        TargetError: for anything else, and for a setting that nobody knows.
    """
    if isinstance(given, kind):
        return given
    settings = {} if given is None else given
    if not isinstance(settings, Mapping):
        raise TargetError(f"{kind.__name__} must be a mapping of its settings, or one itself, but got {_brief(given)}")
    known = [each.name for each in fields(kind)]
    for name in settings:
        if name not in known:
            raise TargetError(
                f"{kind.__name__} has no setting {name!r}, but {', '.join(known)}{nearest(str(name), known)}"
            )
    return kind(**settings)


def expect_whole(name: str, value: Any) -> None:
    """A whole number of at least 1."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    expect(whole, name, value, "a whole number of at least 1")


def expect_callable(name: str, value: Any, expected: str = "a callable or None") -> None:
    """Something to call, or None."""
    expect(value is None or callable(value), name, value, expected)


def expect_preprocess(name: str, value: Any) -> None:
    """One step of preprocessing, or several with names."""
    expected = "an object with fit and transform, a list of (name, step), or a function X -> X"
    if isinstance(value, list | tuple):
        for step in value:
            expect(
                isinstance(step, list | tuple) and len(step) == 2 and isinstance(step[0], str),
                name,
                step,
                "a list of (name, step)",
            )
            expect(hasattr(step[1], "transform") or callable(step[1]), f"{name} step {step[0]!r}", step[1], expected)
        return
    expect(value is None or hasattr(value, "transform") or callable(value), name, value, expected)


def expect_loss(value: Any) -> None:
    """A loss to call, and not the class that one is made of."""
    expect_callable("training.loss", value)
    expect(
        not (isinstance(value, type) and hasattr(value, "forward")),
        "training.loss",
        value,
        "an object, such as nn.CrossEntropyLoss()",
    )


MODEL = "a function () -> nn.Module, or an estimator with fit and predict"
"""What a target's `model` must be."""


def expect_factory(value: Any) -> None:
    """A function that builds a network of PyTorch or an estimator, or an estimator itself; no network."""
    if other := other_library(value):
        raise TargetError(f"model must be {MODEL}, but got {_brief(value)}: {other}")
    if is_estimator(value):
        return
    expect_callable("model", value, MODEL)
    expect(
        isinstance(value, type) or not hasattr(value, "state_dict"),
        "model",
        value,
        "a function () -> nn.Module, such as the network's class",
    )


def other_library(model: Any) -> str:
    """What is said of a model, or a class of models, of a library that is not supported; else empty."""
    if unsupported(model):
        return "models of TensorFlow and Keras are not supported, only those of PyTorch and scikit-learn's style"
    return ""


def expect_column(name: str, value: Any) -> None:
    """The name of one column, or None."""
    expect(isinstance(value, Hashable), name, value, "the name of one column")


def expect_several(name: str, value: Any, expected: str) -> None:
    """A list, and not one text."""
    expect(isinstance(value, Iterable) and not isinstance(value, str | Path), name, value, expected)


def expect_seed(name: str, value: Any) -> None:
    """A number that NumPy and torch both take as a seed."""
    whole = isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < 2**32
    expect(whole, name, value, "a whole number of at least 0 and below 2**32")


def expect_metric(value: Any) -> None:
    """A metric's name, a callable, or None."""
    from firstfault.metrics import METRICS

    known = value is None or (value in METRICS if isinstance(value, str) else callable(value))
    expect(known, "training.metric", value, f"one of {', '.join(METRICS)}, or a callable")


def expect_thresholds(value: Any) -> None:
    """Numbers by name, by check."""
    held = isinstance(value, Mapping) and all(isinstance(numbers, Mapping) for numbers in value.values())
    expect(held, "thresholds", value, "{check: {name: number}}")


def expect_mutes(value: Any) -> None:
    """A reason by check, or by check and place."""
    held = isinstance(value, Mapping) and all(
        isinstance(text, str) and text.strip() for pair in value.items() for text in pair
    )
    expect(held, "mute", value, "{check: reason}, or {'check:place': reason}, in words")


def _brief(value: Any) -> str:
    text = " ".join(shown(value).split())
    return text if len(text) <= 80 else f"{text[:77]}…"


def checked_actions(given: str | Sequence[Any], field: str) -> list[Any]:
    """The names and actions of a text or a list, each name once.

    Raises:
        TargetError: for a name that is none of them, or anything that can't act.
    """
    items = [part.strip() for part in given.split(",")] if isinstance(given, str) else given
    if not isinstance(items, list | tuple):
        raise TargetError(f"{field} must be some of {', '.join(ACTIONS)}, or actions, but got {items!r}")
    for item in items:
        if item not in ACTIONS if isinstance(item, str) else not callable(getattr(item, "act", None)):
            raise TargetError(f"{field} must be some of {', '.join(ACTIONS)}, or actions, but got {item!r}")
    names = [item for item in items if isinstance(item, str)]
    return (
        [item for place, item in enumerate(items) if not isinstance(item, str) or items.index(item) == place]
        if names
        else list(items)
    )
