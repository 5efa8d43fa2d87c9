"""The requests that show a conclusion, with what was recorded of them, by both arms where both answered."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import msgspec

from firstfault.monitor.database import StoreError
from firstfault.monitor.record import CUTS, Arm, Record
from firstfault.monitor.rollout.gathering import pair_of
from firstfault.monitor.rollout.standing import Standing
from firstfault.monitor.settings import Settings
from firstfault.monitor.store import Store

logger = logging.getLogger(__name__)
LONGEST = 2_000
"""Characters of a request and of an answer that are shown."""


def with_requests(standing: Standing, settings: Settings, since: float | None) -> Standing:
    """A standing whose requests are shown as they were recorded."""
    wanted = set(standing.comparison.requests)
    if not wanted:
        return standing
    found: dict[str, dict[str, Record]] = {}
    try:
        records = Store(settings).records(since or 0.0)
    except (OSError, StoreError) as error:  # what is concluded stands without it
        logger.warning("the requests can't be shown: %s", error)
        return standing
    for record in records:
        for name in (record.request_id, pair_of(record)):
            if name in wanted:
                found.setdefault(name, {})[record.arm] = record
    shown = tuple(_shown(found[name]) for name in standing.comparison.requests if name in found)
    requests = tuple(each["request_id"] for each in shown) or standing.comparison.requests
    comparison = dataclasses.replace(standing.comparison, requests=requests, shown=shown)
    return msgspec.structs.replace(standing, comparison=comparison)


def _shown(sides: dict[str, Record]) -> dict[str, Any]:
    """One request: what was asked, and how each arm took it."""
    record = next(iter(sides.values()))
    champion = sides.get(Arm.CHAMPION)
    challenger = next((side for arm, side in sides.items() if arm != Arm.CHAMPION), None)
    return {
        "request_id": record.request_id,
        "path": record.path,
        "request": record.request[:LONGEST],
        "champion": _side(champion),
        "challenger": _side(challenger),
        "first_cut": _first_cut(champion, challenger),
    }


def _side(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {
        "raw": record.raw,
        "status": record.status,
        "outcome": str(record.outcome),
        "seconds": record.stages.total,
        "confidence": record.confidence,
        "response": record.response[:LONGEST],
        "error": record.error[-LONGEST:],
        "cuts": msgspec.to_builtins(record.cuts),
        "values": {name: value for name, value in record.values.items() if name in CUTS},
        "marks": list(record.marks),
    }


def _first_cut(champion: Record | None, challenger: Record | None) -> str | None:
    """The first cut at which the two differ, where both have it."""
    if champion is None or challenger is None:
        return None
    pairs = ((cut, getattr(champion.cuts, cut), getattr(challenger.cuts, cut)) for cut in CUTS)
    return next((cut for cut, ours, theirs in pairs if ours and theirs and ours != theirs), None)
