"""What the safety checks collect beside their findings: scores, tables, and failure cases to look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject


@dataclass
class Evidence:
    """Scores by name, tables by title as rows, and the cases in which the model failed."""

    scores: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)


@memo(of="trained")
def safety_evidence(subject: Subject) -> Evidence:
    """What is collected of a subject's trained model; empty until a check adds to it."""
    return Evidence()
