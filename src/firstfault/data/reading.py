"""What reading a source taught: its defects, harmless notes, and its image files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firstfault.data.images import ImageFile


@dataclass(frozen=True)
class Defect:
    """Something of a source that could only be read in part, or by a guess.

    `lost` is how many lines or columns it concerns; `fault` is None where it is odd but harmless.
    """

    file: str
    message: str
    lost: int = 0
    fault: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Reading:
    """What reading one source taught beside its rows: defects, harmless notes, and its image files."""

    defects: tuple[Defect, ...] = ()
    notes: tuple[str, ...] = ()
    images: tuple[ImageFile, ...] = ()


class Read:
    """A table in the making: what was read, and what was noticed on the way."""

    def __init__(self) -> None:
        self.defects: list[Defect] = []
        self.notes: list[str] = []

    def reading(self, images: Iterable[ImageFile] = ()) -> Reading:
        """What was noticed."""
        return Reading(tuple(self.defects), tuple(self.notes), tuple(images))
