"""The checks as text: a list of all, and one explained, with thresholds and sources."""

from __future__ import annotations

from firstfault.check import REGISTRY, Check, checks_of
from firstfault.finding import LADDER


def all_checks() -> list[Check]:
    """Every check, in the order of the layers."""
    return [entry for layer in LADDER for entry in checks_of(layer)]


def listing() -> str:
    """One line per check: its name, its depth and what it does."""
    lines = []
    for layer in LADDER:
        lines.append(f"{layer.value}")
        lines += [f"  {entry.name:<28} {entry.depth.value:<9} {_first_sentence(entry)}" for entry in checks_of(layer)]
    return "\n".join(lines)


def explain(name: str) -> str | None:
    """One check in full; None when there is none of that name."""
    all_checks()
    entry = REGISTRY.get(name)
    if entry is None:
        return None
    defaults = ", ".join(f"{key} = {value}" for key, value in entry.parameters.items()) or "none"
    faults = ", ".join(f"{fault} ({weight})" for fault, weight in entry.detects.items()) or "none"
    return (
        f"{entry.name} · {entry.layer.value} · {entry.depth.value}\n\n{entry.doc}\n\n"
        f"evidence for: {faults}\nneeds: {', '.join(sorted(entry.needs)) or 'nothing'}\nthresholds: {defaults}\n"
    )


def _first_sentence(entry: Check) -> str:
    return entry.doc.split("\n\n")[0].replace("\n", " ")
