"""The cases of production that lie beside the target, asked again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from firstfault.behaviour.cases import FOLDER, Asked, Case, cases_in, requests_of
from firstfault.check import Judgement, check, judge, skipped
from firstfault.depth import Depth
from firstfault.errors import Missing
from firstfault.faults import FAULTS
from firstfault.finding import Layer
from firstfault.place import Kind, Place
from firstfault.subject.case_replay import ask_again
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

WEIGHT = 0.95
"""The fault of a case was diagnosed on these very requests: as good as proof, which .9 is."""


@memo(of="raw")
def cases_beside(subject: Subject) -> list[tuple[Path, Case]]:
    """The cases in the folder `cases` beside the target's file, with their folders.

    Raises:
        Missing: when there are none.
        TargetError: when one can't be read.
    """
    folder = subject.target.root / FOLDER
    found = list(cases_in(folder)) if folder.is_dir() else []
    if not found:
        raise Missing(f"no case of production is kept in {FOLDER}/ beside the target")
    return found


@check(layer=Layer.DEPLOYMENT, needs={cases_beside}, detects={"train_serve_skew": WEIGHT}, depth=Depth.STANDARD)
def kept_case(subject: Subject) -> Iterator[Judgement]:
    """Find a failure of production that is back, or was never repaired.

    Measures: for each case beside the target, the share of its requests that what is served now answers rightly, or
        refuses where they should never have been sent. One finding per case; its fault is the one of the incident.
    Fails when: the share is below the one that the case asks for.
    Not a fault when: the case lay in how the server ran, or in how it was seen: no request shows it.
    Source: the incident from which the case was kept; Ribeiro et al. 2020, CheckList, for tests made of failures.
    """
    for place, case in cases_beside(subject):
        yield judged_case(subject, place, case)


def judged_case(subject: Subject, place: Path, case: Case) -> Judgement:
    """One case, asked again and judged."""
    where = Place(Kind.CASE, (case.id,))
    if case.asked is Asked.NOTHING:
        return skipped(f"{case.id} ({case.name}): {case.why}", where=where)
    try:
        replay = ask_again(subject, case, requests_of(place))
    except Missing as reason:
        return skipped(f"{case.id} ({case.name}): {reason}", where=where)
    return judge(
        replay.share,
        below=case.least,
        message=f"{case.id} ({case.name}): {replay.told(case.least)}",
        where=where,
        fix=case.remedy or None,
        faults={case.fault: WEIGHT} if case.fault in FAULTS else None,
    )
