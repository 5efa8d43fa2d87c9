"""A generator that plays against a critic, and does not come nearer to the real samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.training._beside_the_loss import CLOSE, NEARER, VARIED
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

NEXT_TO_NOTHING = 0.05  # of the distances between real samples


@check(layer=Layer.TRAINING, needs={"record"}, detects={"stalled": 0.4})
def generator_far_from_data(
    subject: Subject, *, nearer: float = NEARER, close: float = CLOSE, varied: float = VARIED, fewest: int = 200
) -> Iterator[Judgement]:
    """Find generators whose samples end as far from the real ones as they began, or are all alike.

    Measures: the energy coefficient, 0 to 1, of what a generator makes and of the real samples that its critic is
        shown, at the end and at the start; and how far samples of one batch lie apart, relative to real ones. Up to 256
        values of a sample are looked at.
    Fails when: it has not come down at all after `fewest` batches, or the samples of a batch lie apart by less than a
        twentieth of what real ones do, or by more than 20 times as much.
    Warns when: it ends above `nearer` of what it was, or above `close`, or samples lie apart by less than `varied` of
        what real ones do, or by more than its inverse; or when a critic is never shown real samples as they are. But
        for samples that come close and make one mode a batch, nothing tells then that the generator has learnt.
    Not a fault when: no model learns from what another one makes, once with it and once without it.
    Source: Székely & Rizzo 2013 (energy statistics); Goodfellow et al. 2014. The bounds are a choice of ours: of a
        normal distribution and one point at its mean the coefficient is 0.29.
    """
    found = subject.record.generated
    if not found:
        yield skipped("no critic was seen that judges what another model makes")
    for name, seen in found.items():
        if "last" in seen and np.isfinite([seen["first"], seen["last"], seen["spread"]]).all():
            yield _judged(name, seen, nearer=nearer, close=close, varied=varied, fewest=fewest)
        else:
            text = f"{name} plays against a critic, and it was not seen how near its samples come to real ones"
            yield Judgement(Status.WARN, text, where=Place.part(name), faults={})


def _judged(
    name: str, seen: Mapping[str, float], *, nearer: float, close: float, varied: float, fewest: int
) -> Judgement:
    first, last, spread = seen["first"], seen["last"], seen["spread"]
    text = (
        f"the samples of {name} lie {last:.2g} from the real ones, {first:.2g} at the start, and {spread:.2g} as far "
        "from each other"
    )
    where, near = Place.part(name), min(nearer * first, close)
    if seen["batches"] >= fewest and (last >= first or not NEXT_TO_NOTHING < spread < 1 / NEXT_TO_NOTHING):
        fix = "look at the steps of both, and whether one of them has won: the generator learns nothing more"
        return Judgement(Status.FAIL, text, value=last, threshold=near, where=where, fix=fix)
    if last <= near and varied <= spread <= 1 / varied:
        return passed(text, value=last, where=where)
    return Judgement(Status.WARN, text, value=last, threshold=near, where=where, faults={})
