"""A failure as it is kept: what was asked, what answered, what came of it, and what is known of why."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from firstfault.lm.identity import digest


class Kind(StrEnum):
    """What failed."""

    MODEL = "model"
    LANGUAGE_MODEL = "language model"
    INCIDENT = "incident"


class Standing(StrEnum):
    """Where a failure stands."""

    CANDIDATE = "candidate"
    """Seen, and not reproduced 3 of 5 times yet."""
    OPEN = "open"
    """Reproduced."""
    FIXED = "fixed"
    """A later version passes it."""
    BACK = "came back"
    """A version after one that passed it fails it again: an alarm."""
    DISMISSED = "no failure"
    """A person says that it is none."""


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One failure. Its texts are masked before it is made; `id` is the digest of what makes it this one."""

    id: str
    kind: Kind
    name: str
    """What a reader calls it: suite and case, monitor, or check."""
    standing: Standing = Standing.CANDIDATE
    target: str = ""
    """The model that is asked again: `file.py:name`, as it was given."""
    prompt: str = ""
    conversation: tuple[dict[str, str], ...] = ()
    asked: str = ""
    """What is asked again: the smallest prompt where any that passes is right, else the whole one."""
    minimal: str = ""
    twin: str = ""
    edit: str = ""
    answer: str = ""
    expect: str = ""
    scorer: str = ""
    scorer_version: str = ""
    scorer_root: str = ""
    verdicts: tuple[bool | None, ...] = ()
    symptom: str = ""
    features: dict[str, Any] = {}
    cuts: tuple[dict[str, str], ...] = ()
    first_cut: str = ""
    ids: str = ""
    template: str = ""
    model: str = ""
    version: str = ""
    weights: str = ""
    adapter: str = ""
    decoding: dict[str, Any] = {}
    layer: str = ""
    fault: str = ""
    place: str = ""
    remedy: str = ""
    folder: str = ""
    """Of an incident's case, which `pytest --firstfault` asks."""
    label: str = ""
    """What a person said: failure, or no failure."""
    seen: int = 1
    first_seen: float = 0.0
    last_seen: float = 0.0

    @property
    def text(self) -> str:
        """What it is compared by."""
        words = (self.minimal or self.prompt, self.symptom, self.fault, self.place, self.first_cut)
        return " ".join(filter(None, words)) or self.name


TEXTS = ("prompt", "asked", "minimal", "twin", "edit", "answer", "expect")
"""The fields that are kept once, however many failures share them."""


def identity(kind: Kind, *parts: str) -> str:
    """The id of a failure: the same for the same parts, whatever blanks stand in them."""
    return digest(kind.value, *(" ".join(part.split()) for part in parts))
