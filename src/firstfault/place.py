"""Where a measurement points: a kind and names, from which the text for people is made, and never the other way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from firstfault.texts import encodable, shown
from firstfault.values import Json

MOST_NAMED = 8
"""Names that the text of a place shows."""
SHOWN = 5
"""Names or lines that a message or its place is given: of more, the first tell what is meant."""


class Kind(StrEnum):
    """What the names of a place are names of."""

    COLUMN = "column"
    ROW = "row"
    LABELS = "labels"
    SPLIT = "split"
    FILE = "file"
    STAGE = "stage"
    MODULE = "module"
    PARAMETER = "parameter"
    SETTING = "setting"
    PACKAGE = "package"
    EPOCH = "epoch"
    STEP = "step"
    CASE = "case"  # what a served model was asked, or a suite of prompts
    LINE = "line"
    PART = "part"  # of the system, that has no name but words: the training loop
    UNKNOWN = "unknown"  # from a verdict of version 1, which told places in words alone


@dataclass(frozen=True)
class Place:
    """Where a measurement points: names of one kind, in one split perhaps, or a line of the user's code.

    For a line, `file` and `line` say which, and the name is that of its function. `note` is what is said beside the
    names, as `in the backward pass`. `step` is the optimizer step at which it was seen, where that is known.
    `str(place)` is the text for people.
    """

    kind: Kind
    names: tuple[str, ...] = ()
    split: str | None = None
    file: str | None = None
    line: int | None = None
    step: int | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", _texts(self.names))
        for name in ("split", "file", "note"):  # what they quote of the user's may have no UTF-8
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, encodable(text))

    def __str__(self) -> str:
        more = len(self.names) - MOST_NAMED
        names = ", ".join(self.names[:MOST_NAMED]) + f" and {more} more" * (more > 0)
        match self.kind:
            case Kind.LINE:
                return f"{self.file}:{self.line}" + f" in {names}" * bool(names)
            case Kind.LABELS | Kind.ROW:
                return " ".join(filter(None, (self.split, "rows" if self.kind is Kind.ROW else "labels", names)))
            case Kind.EPOCH:
                return f"epoch {names}"
            case Kind.STEP:
                return f"step {self.step}"
            case Kind.FILE:
                return names + f" ({self.split})" * bool(self.split)
            case _:
                return ", ".join(filter(None, (names, self.split, self.note)))

    @classmethod
    def columns(cls, *names: object) -> Place | None:
        """The columns of these names; None where there are none."""
        return cls(Kind.COLUMN, _texts(names)) if names else None

    @classmethod
    def modules(cls, *names: object) -> Place | None:
        """The modules of these names; None where there are none."""
        return cls(Kind.MODULE, _texts(names)) if names else None

    @classmethod
    def parameters(cls, *names: object) -> Place | None:
        """The parameters of these names; None where there are none."""
        return cls(Kind.PARAMETER, _texts(names)) if names else None

    @classmethod
    def files(cls, *names: object) -> Place | None:
        """The files of these names; None where there are none."""
        return cls(Kind.FILE, _texts(names)) if names else None

    @classmethod
    def cases(cls, *names: object) -> Place | None:
        """What a served model was asked, by its names; None where there are none."""
        return cls(Kind.CASE, _texts(names)) if names else None

    @classmethod
    def setting(cls, name: str, split: str | None = None) -> Place:
        """A setting of the target, such as `training.loss`."""
        return cls(Kind.SETTING, (name,), split)

    @classmethod
    def stage(cls, name: str, split: str | None = None, note: str | None = None) -> Place:
        """A stage of the preprocessing, in all splits or in one."""
        return cls(Kind.STAGE, (name,), split, note=note)

    @classmethod
    def labels(cls, split: str | None = None) -> Place:
        """The labels, of one split or of all."""
        return cls(Kind.LABELS, split=split)

    @classmethod
    def data(cls, split: str) -> Place:
        """A whole split."""
        return cls(Kind.SPLIT, (split,))

    @classmethod
    def part(cls, words: str) -> Place:
        """A part of the system that has no name but words."""
        return cls(Kind.PART, (words,))

    def hidden(self, hide: Callable[[str], str]) -> Place:
        """This place with every text of it as `hide` gives it."""
        return replace(
            self,
            names=tuple(map(hide, self.names)),
            split=self.split and hide(self.split),
            file=self.file and hide(self.file),
            note=self.note and hide(self.note),
        )

    def to_json(self) -> dict[str, object]:
        """This place as JSON values, with its text for people."""
        return {
            "kind": self.kind.value,
            "names": list(self.names),
            "split": self.split,
            "file": self.file,
            "line": self.line,
            "step": self.step,
            "note": self.note,
            "text": str(self),
        }

    @classmethod
    def from_json(cls, values: Json | str) -> Place:
        """The place that `to_json` wrote, or the text that a verdict of version 1 holds."""
        if isinstance(values, str):
            return cls(Kind.UNKNOWN, (values,))
        others = (values.get(key) for key in ("split", "file", "line", "step", "note"))
        return cls(Kind(values["kind"]), tuple(values["names"]), *others)


def together(places: Sequence[Place]) -> Place | None:
    """The places that are of the first one's kind as one; None where there are none."""
    names = dict.fromkeys(name for place in places if place.kind is places[0].kind for name in place.names)
    return replace(places[0], names=tuple(names)) if places else None


def _texts(names: Iterable[object]) -> tuple[str, ...]:
    return tuple(shown(name, str) for name in names)


OUTPUT_LAYER = Place.part("output layer")
FORWARD = Place.part("forward")
