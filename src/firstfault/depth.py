"""How much a run may cost: quick, standard, deep."""

from __future__ import annotations

from enum import StrEnum


class Depth(StrEnum):
    """How much a run may cost: a check of one depth runs at that depth and all later ones.

    quick: structure and single passes, at most one brief training. standard: profiles, packaging,
    a served process and swaps, at most 3 trainings of the target. deep: up to 20 trainings.
    """

    QUICK = "quick"
    STANDARD = "standard"
    DEEP = "deep"

    def includes(self, other: Depth) -> bool:
        """Whether a check of depth `other` runs at this depth."""
        order = list(Depth)
        return order.index(other) <= order.index(self)
