"""The marks over all streams, and how each is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from monitoring.served.judging import Judged

BEFORE_THE_LAYERS = ("telemetry", "shares")
AT_LEAST = {"layer": 0.92, "fault": 0.82}
FALSE_PER_100_000, DELAY, LABELS = 1.0, 400, 1_500


def layer_is_right(judged: Judged) -> bool:
    """Whether the verdict names a layer that is right; before the layers, it is the fault that counts."""
    if judged.shown in BEFORE_THE_LAYERS:
        return fault_is_right(judged)
    return judged.status == "faulty" and judged.layer in judged.layers


def fault_is_right(judged: Judged) -> bool:
    """Whether the fault that the verdict puts first is right."""
    return judged.status == "faulty" and judged.found[:1] != [] and judged.found[0] in judged.faults


def is_honest(judged: Judged) -> bool:
    """Whether what the verdict says is proven by a replay, or says that it is unproven."""
    unproven = judged.confirmed is None and "unproven" in judged.reason
    return judged.status != "faulty" or judged.confirmed is True or unproven


def line(judged: Judged) -> str:
    """One stream in a line."""
    if judged.note:
        mark = "CRASH"
    elif judged.planted:
        mark = (
            "ok" if fault_is_right(judged) and layer_is_right(judged) else "layer" if layer_is_right(judged) else "MISS"
        )
    else:
        mark = "FALSE" if judged.status == "faulty" or judged.false else "ok"
    opened = "not seen" if judged.opened is None else f"after {judged.opened} by {judged.monitor}"
    proof = {True: "proven", False: "disproved", None: "unproven"}[judged.confirmed] if judged.found else ""
    return (
        f"{mark:<6}{judged.seconds:6.1f} s  {judged.name:<38} {opened:<28} {judged.status or '–'} "
        f"{judged.layer or '–'}: {', '.join(judged.found[:3]) or '–'} {proof} "
        f"[{judged.told}] {'; '.join(judged.false)} {judged.note}".rstrip()
    )


def summary(all_: Sequence[Judged], *, detected: bool) -> dict[str, Any]:
    """The marks of the streams."""
    planted = [one for one in all_ if one.planted]
    healthy = [one for one in all_ if not one.planted]
    watched = sum(one.watched for one in all_)
    false = sum(len(one.false) for one in all_)
    result: dict[str, Any] = {
        "planted": len(planted),
        "healthy": len(healthy),
        "layer": _share(map(layer_is_right, planted)),
        "fault": _share(map(fault_is_right, planted)),
        "proven": _share(one.confirmed is True for one in planted if one.status == "faulty"),
        "proven_or_unproven": _share(map(is_honest, all_)),
        "healthy_called_faulty": sum(one.status == "faulty" for one in healthy),
        "crashed": sum(bool(one.note) for one in all_),
        "by_step": {
            step: {
                "n": len(group),
                "layer": _share(map(layer_is_right, group)),
                "fault": _share(map(fault_is_right, group)),
            }
            for step, group in _grouped(planted).items()
        },
    }
    if detected:
        result |= {
            "seen": _share(one.opened is not None for one in planted),
            "watched_healthy": watched,
            "false_incidents": false,
            "false_per_100_000": round(100_000 * false / max(watched, 1), 2),
        }
    return result


def _grouped(planted: Iterable[Judged]) -> dict[str, list[Judged]]:
    groups: dict[str, list[Judged]] = defaultdict(list)
    for one in planted:
        groups[one.step].append(one)
    return dict(groups)


def _share(values: Iterable[bool]) -> float:
    known = list(values)
    return round(sum(known) / len(known), 3) if known else 0.0
