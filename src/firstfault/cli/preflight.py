"""What can be known to be wrong with a target before anything is started: names, paths, devices, and its model."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firstfault.data.splits import Splits, load_raw
from firstfault.errors import FirstfaultError, Missing, TargetError, UserCodeError, first_line, user_frame
from firstfault.extras import missing_extra
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.muting import name_of
from firstfault.runs import guard
from firstfault.subject.opening import Loaded, load
from firstfault.target.bundled import own_or_shipped
from firstfault.target.declaration import Target
from firstfault.target.validation import MODEL, other_library
from firstfault.texts import nearest
from firstfault.values import is_number


def preflight(
    spec: str, overrides: Mapping[str, str] | None = None, dataset: str | None = None, where: str | None = None
) -> Loaded:
    """Load a target and its raw data, so that a bad call is known before anything is started.

    Raises:
        TargetError: when the target or its data is unusable, or its model has no submodule `where`.
    """
    guard.tell(doing="loading")
    target = load(spec, overrides or {}, dataset)
    expect_workable(target)
    guard.tell(target=target.name, doing=Layer.MODEL.value)
    expect_model(target, where)
    guard.tell(doing=Layer.DATA.value)
    source = None
    with contextlib.suppress(Missing, UserCodeError):  # which is a finding of the run
        source = _raw(target) if target.data is not None else None
    return Loaded(target, source)


def _raw(target: Target) -> Splits:
    try:
        return load_raw(target)
    except FirstfaultError:
        raise
    except BaseException as error:
        pass_on(error)
        lacking = missing_extra(error, "loading the data", target.root)
        if lacking is None and user_frame(error, target.root) is None and isinstance(error, Exception):
            raise  # firstfault's own crash
        raise lacking or UserCodeError(Layer.DATA, "loading the data", error, target.root) from error


def expect_workable(target: Target) -> None:
    """Look at everything that a target names, without reading its data or running its code.

    Raises:
        TargetError: naming the first that is not there.
    """
    if target.lm is None and target.data is None and not (target.safety and target.safety.suites):
        raise TargetError(f"{target.name} must declare data, since the checks look at samples; but data is None")
    _expect_checks(target)
    _expect_files(target)
    if target.training is not None and target.model is not None:
        _expect_device(target.training.device)


def _expect_checks(target: Target) -> None:
    """Checks that the target speaks of, and their thresholds."""
    if not target.thresholds and not target.mute:
        return
    from firstfault.checks.catalogue import all_checks

    known = {entry.name: entry.parameters for entry in all_checks()}
    for field, names in (("thresholds", target.thresholds), ("mute", map(name_of, target.mute))):
        for check in names:
            if check not in known:
                near = nearest(check, known) or "; `firstfault checks` lists them"
                raise TargetError(f"{field} must name checks, but got {check!r}{near}")
    for check, values in target.thresholds.items():
        for name, value in values.items():
            if name not in known[check]:
                raise TargetError(
                    f"thresholds[{check!r}] must name {', '.join(known[check]) or 'nothing'}, but got {name!r}"
                )
            if is_number(known[check][name]) and not is_number(value):
                raise TargetError(f"thresholds[{check!r}][{name!r}] must be a number, but got {value!r}")


def _expect_files(target: Target) -> None:
    suite = target.data.expectations if target.data is not None else None
    if suite is not None and not (path := own_or_shipped(suite, target.root)).is_file():
        raise TargetError(f"data.expectations: there is no file {path}; `firstfault expect` writes one from the data")
    needed = target.deployment.requirements if target.deployment is not None else None
    if isinstance(needed, str | Path) and "==" not in str(needed) and not (target.root / needed).is_file():
        raise TargetError(f"deployment.requirements: there is no file {target.root / needed}")
    if target.safety is not None:
        from firstfault.behaviour.suites import expect_suites

        expect_suites(target)


def _expect_device(device: str) -> None:
    import torch

    if device == "auto":
        return
    try:
        torch.empty(0, device=device)
    except Exception as error:
        raise TargetError(
            f"training.device must be `auto` or a device that torch has here, but got {device!r}: {first_line(error)}"
        ) from error


def expect_model(target: Target, where: str | None = None) -> None:
    """Build the target's model once, to see that it is a network of PyTorch, or an estimator, and fits the rest.

    A factory that raises is let pass: that is a finding of the run.

    Raises:
        TargetError: when it is something else, has no submodule `where`, or is an estimator with a loop beside it.
    """
    if target.model is None:
        return
    if target.estimator is not None:
        _expect_no_loop(target, where)
        return
    from torch import nn

    from firstfault.seeds import same_random_state
    from firstfault.subject.submodule import expect_name

    try:
        with same_random_state():
            model = target.model()
    except BaseException as error:
        pass_on(error)
        return
    if not isinstance(model, nn.Module):
        why = other_library(model) or "only networks of PyTorch, and estimators with fit and predict, are supported"
        raise TargetError(f"model must be {MODEL}, but it returned {_kind(model)}: {why}")
    if where is not None:
        expect_name(model, where)


LOOP = ("loss", "optimizer", "scheduler", "clip_norm", "augment", "penalty", "fit", "loader")
"""The settings of a training by gradient steps."""


def _expect_no_loop(target: Target, where: str | None) -> None:
    declared = [name for name in LOOP if getattr(target.training, name, None) is not None]
    if declared:
        raise TargetError(
            f"training.{declared[0]} must be left out where the model is an estimator, which is fitted by its own fit"
        )
    if where is not None:
        raise TargetError(f"--where must name a submodule of a network, but the model is an estimator: {where!r}")


def _kind(value: Any) -> str:
    return "None" if value is None else f"an object of {type(value).__module__}.{type(value).__qualname__}"
