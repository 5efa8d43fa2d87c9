"""Checks of an incident's pictures: noise, another range of pixels, parts without content."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import check
from firstfault.checks.data._served_images import images_of
from firstfault.finding import Layer, Status
from firstfault.judgement import Judgement, passed
from firstfault.subject.harm import harm
from firstfault.subject.incident import incident
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind

UNPROVEN = 0.45
"""A suspicion, which does not stand by itself: nobody knows whether it did harm."""


@check(
    layer=Layer.DATA,
    needs={incident, images_of},
    detects={"unit_change": 0.8, "gibberish_input": 0.8, "upstream_default": 0.8, "covariate_drift": 0.6},
    kind=SubjectKind.INCIDENT,
)
def served_images(subject: Subject, *, share: float = 0.05, moved: float = 0.3) -> Iterator[Judgement]:
    """Find pictures that are noise, in another range of pixels, without content in parts, or rougher than before.

    Measures: the brightest pixel of each picture, how strange neighbouring pixels are to each other, and lines of one
        colour, against the control's pictures.
    Fails when: more than `share` of the pictures lie beyond the control's in one of these; or all are rougher by a
        distance of `moved`, and answers are worse.
    Not a fault when: labels say that they are answered as well.
    Source: Rabanser et al. 2019, Failing Loudly.
    """
    found = images_of(subject)
    parts = {"unit_change": found.scaled, "gibberish_input": found.noisy, "upstream_default": found.without}
    shares = {name: float(np.mean(rows)) for name, rows in parts.items()}
    if found.factor is not None and shares["unit_change"] > share:
        told = f"{shares['unit_change']:.0%} of the pictures have pixels {found.factor:.3g} times as large as before"
        yield Judgement(Status.FAIL, told, found.factor, share, faults={"unit_change": 0.8})
        return
    if shares["upstream_default"] > share:
        told = (
            f"{shares['upstream_default']:.0%} of the pictures have lines without content, where there always was some"
        )
        yield Judgement(Status.FAIL, told, shares["upstream_default"], share, faults={"upstream_default": 0.8})
        return
    rough, seen = shares["gibberish_input"], harm(subject)
    if rough > share and found.noise:
        told = f"{rough:.0%} of the pictures are noise: neighbouring pixels are strangers"
        yield Judgement(Status.FAIL, told, rough, share, faults={"gibberish_input": 0.8})
        return
    if found.rougher > moved and seen.worse is not False:
        weight = 0.6 if seen.worse else UNPROVEN
        told = f"the pictures are rougher than the control's, by a distance of {found.rougher:.2f}; {seen.message}"
        yield Judgement(Status.FAIL, told, found.rougher, moved, faults={"covariate_drift": weight})
        return
    yield passed("pixels, lines and roughness are as in the control's pictures")
