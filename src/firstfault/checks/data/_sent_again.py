"""Whether an incident's requests came several times: sent again by a client, or all with what stands in for a text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from firstfault.subject.incident import Requests, incident
from firstfault.subject.memo import memo
from firstfault.subject.raw_rows import rows_of
from firstfault.subject.subject import Subject

MORE = 0.2
"""By how much more requests must be repeats than in the control: a choice of ours, far beyond what a mix moves."""
ONE = 0.8
"""Of the repeats: so many are of one input only where that stands in for all others."""


@dataclass(frozen=True)
class SentAgain:
    """The shares of requests whose input came before, among as many on end: of the control, and now.

    `stand_in` says that nearly all of them are one input of one field, as where a default stands in for a text.
    """

    before: float
    now: float
    known: bool = True
    stand_in: bool = False

    @property
    def are_copies(self) -> bool:
        """Whether whole requests are copies of others, which then tell nothing of their columns."""
        return self.now - self.before > MORE and not self.stand_in


@memo(of="raw")
def sent_again(subject: Subject) -> SentAgain:
    """How many of the incident's requests came before."""
    seen = incident(subject)
    sides = [_raw_hashes(seen.control), _raw_hashes(seen.requests)]
    size = min(map(len, sides))
    if not size:
        return SentAgain(0.0, 0.0, known=False)
    before, now = (_repeated(side, size) for side in sides)
    counts = Counter(sides[1])
    most, repeats = max(counts.values()) - 1, counts.total() - len(counts)
    return SentAgain(before, now, stand_in=repeats > 0 and most > ONE * repeats and _has_one_field(seen.requests))


def distinct_rows(subject: Subject, requests: Requests) -> list[dict[str, Any]]:
    """The rows of a fair sample of requests; of copies the first alone, where the incident's requests are copies."""
    if not sent_again(subject).are_copies:
        return rows_of(requests.fair.values("raw"))
    first = {request.hashes.get("raw", request.id): request.id for request in reversed(requests.fair.all)}
    kept = requests.fair.only(lambda request: first[request.hashes.get("raw", request.id)] == request.id)
    return rows_of(kept.values("raw"))


def _has_one_field(requests: Requests) -> bool:
    rows = rows_of(requests.fair.values("raw")[:100])
    return all(len(row) == 1 for row in rows)


def _raw_hashes(requests: Requests) -> list[str]:
    """The hashes of the raw inputs, in the order of time; what fails is sent again because it failed."""
    return [request.hashes["raw"] for request in requests.answered.all if "raw" in request.hashes]


def _repeated(hashes: list[str], size: int) -> float:
    """The mean share of repeats among so many requests on end: of more of the same people, more come again."""
    parts = [hashes[start : start + size] for start in range(0, len(hashes) - size + 1, size)]
    return sum(1 - len(set(part)) / size for part in parts) / len(parts)
