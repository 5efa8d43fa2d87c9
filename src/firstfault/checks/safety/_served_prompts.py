"""Prompts of an incident with their served answers, and what the target's own `generate` says to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from firstfault.behaviour.scorers import refuses
from firstfault.errors import Missing
from firstfault.interrupts import pass_on
from firstfault.subject.generation import model_for, prompt_in
from firstfault.subject.incident import Requests, incident
from firstfault.subject.memo import memo
from firstfault.subject.offline import offline
from firstfault.subject.subject import Subject

FEWEST, MOST = 20, 150
"""Answers in words that are needed on each side, and prompts that are asked again, half of them refused ones."""
SHORTEST = 3
"""Words of an answer that is more than the name of a class."""


@dataclass(frozen=True)
class Said:
    """A prompt, and whether it was refused: as served, and by the last good version."""

    prompt: str
    served: bool
    offline: bool | None = None


@dataclass(frozen=True)
class Prompts:
    """What was asked and answered; `replayed` are those that were asked again, None where that can't be done."""

    before: tuple[Said, ...]
    now: tuple[Said, ...]
    replayed: tuple[Said, ...] | None
    more_marks: float
    why_not: str = ""

    @property
    def more_refusals(self) -> float:
        """By how much refusals became more frequent."""
        return _share(self.now) - _share(self.before)

    @property
    def answered_though_refused(self) -> int:
        """Prompts that the last good version refuses, and that were answered."""
        return sum(each.offline is True and not each.served for each in self.replayed or ())

    @property
    def refused_though_answered(self) -> int:
        """Prompts that the last good version answers, and that were refused."""
        return sum(each.offline is False and each.served for each in self.replayed or ())

    @property
    def marked(self) -> str:
        """What the user's code said of the answers."""
        return f"; {self.more_marks:.1%} more of the answers are marked" if self.more_marks > 0 else ""


def _share(said: Sequence[Said]) -> float:
    return sum(each.served for each in said) / max(len(said), 1)


@memo(of="trained")
def prompts_of(subject: Subject) -> Prompts:
    """The prompts of the incident.

    Raises:
        Missing: when its answers are no texts.
    """
    seen = incident(subject)
    before, now = _said(seen.control), _said(seen.requests)
    if min(len(before), len(now)) < FEWEST:
        raise Missing("the answers are no texts")
    marks = _marked(seen.requests) - _marked(seen.control)
    try:
        replayed, why_not = _replayed(subject, now), ""
    except Missing as reason:
        replayed, why_not = None, str(reason)
    return Prompts(tuple(before), tuple(now), replayed, marks, why_not)


def _said(requests: Requests) -> list[Said]:
    found = []
    for raw, label in zip(requests.answered.values("raw"), requests.answered.values("label"), strict=True):
        prompt, text = prompt_in(raw), _text(label)
        if prompt and text and len(text.split()) >= SHORTEST:
            found.append(Said(prompt, refuses(text)))
    return found


def _text(label: Any) -> str:
    if isinstance(label, list) and len(label) == 1:
        return _text(label[0])
    if isinstance(label, dict):
        return _text(label.get("text", label.get("content")))
    return label if isinstance(label, str) else ""


def _marked(requests: Requests) -> float:
    return sum(bool(request.marks) for request in requests.all) / max(len(requests), 1)


def _replayed(subject: Subject, said: Sequence[Said]) -> tuple[Said, ...]:
    """The prompts, each once, asked again at the temperature of the target's own `generate`."""
    safety = subject.target.safety
    if safety is None or safety.generate is None:
        raise Missing("the target declares no safety.generate, which would say what the last good version answers")
    given = model_for(safety.generate, lambda: offline(subject).model)
    distinct = {each.prompt: each for each in said}
    found = []
    for each in [
        *_some([one for one in distinct.values() if one.served]),
        *_some([one for one in distinct.values() if not one.served]),
    ]:
        try:
            text = str(safety.generate(each.prompt, *given))
        except BaseException as error:
            pass_on(error)
            raise Missing(f"safety.generate raised {type(error).__name__}") from error
        found.append(Said(each.prompt, each.served, refuses(text)))
    return tuple(found)


def _some(said: Sequence[Said]) -> Sequence[Said]:
    """Half as many as are asked again, evenly spaced."""
    return said[:: max(1, -(-len(said) // (MOST // 2)))]
