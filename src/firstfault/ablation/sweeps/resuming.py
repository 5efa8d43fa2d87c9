"""Which study a sweep writes to: a new one, or the one that it goes on with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from firstfault.ablation.sweeps.plan import Plan
from firstfault.ablation.sweeps.storage import Place
from firstfault.ablation.sweeps.study import SweepStudy, earlier
from firstfault.errors import TargetError
from firstfault.values import Json

logger = logging.getLogger(__name__)


def new_study(place: Place, prefix: str, named: str | None = None) -> str:
    """The name of a study that there isn't yet: those of one target are numbered.

    An earlier one that ended early is pointed out.

    Raises:
        TargetError: when `named` is taken.
    """
    if named is not None:
        if named in earlier(place, ""):
            raise TargetError(f"study_name must be new, but there is a study {named!r}; resume goes on with it")
        return named
    known = earlier(place, prefix)
    if known:
        _point_out(SweepStudy(place, known[-1]))
    return f"{prefix}{int(known[-1].removeprefix(prefix)) + 1 if known else 1}"


def resumed(
    place: Place,
    prefix: str,
    plan: Plan,
    named: str | None = None,
    *,
    any_mode: bool = False,
    seeds: int | None = None,
    trials: int | None = None,
) -> tuple[str, Plan]:
    """The last study of this very target and this plan.

    With `any_mode`, the last of any, with the plan that it was begun with.

    `seeds` and `trials`, where given, replace those of that plan.

    Raises:
        TargetError: when there is nothing to resume.
    """
    for name, begun in _begun(place, prefix, named):
        if any_mode:
            return name, replace(begun, seeds=seeds or begun.seeds, trials=trials or begun.trials)
        if begun.space == plan.space:
            return name, plan
    raise TargetError(f"there must be a sweep to resume, but there is none of {_what(place, prefix, named, any_mode)}")


def _begun(place: Place, prefix: str, named: str | None) -> Iterator[tuple[str, Plan]]:
    """The studies that can be resumed, the last begun first."""
    names = [named] * (named in earlier(place, "")) if named is not None else reversed(earlier(place, prefix))
    for name in names:
        plan: Json = SweepStudy(place, name).plan or {}
        if plan.get("target") == prefix:
            yield name, Plan.from_json(plan)


def _what(place: Place, prefix: str, named: str | None, any_mode: bool) -> str:
    target = prefix.rsplit(" · ", 2)[0]
    if named is not None:
        return f"this target with the name {named!r}"
    if earlier(place, prefix) and not any_mode:
        return f"{target} with these settings"
    if any(name.startswith(f"{target} · ") for name in earlier(place, "")):
        return f"{target} as it is now: its data, settings, network or source have changed since"
    return target


def _point_out(study: SweepStudy) -> None:
    if not study.finished and (ended := len(study.trials())):
        logger.warning(
            "an earlier sweep of this target ended early, after %d trainings; --resume goes on with it", ended
        )
