"""Checks of what an incident's model answered: the served logits against the offline model's to the same tensors."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import check
from firstfault.checks.model._served_logits import answers_of
from firstfault.finding import Layer, Status
from firstfault.judgement import Judgement, passed, skipped
from firstfault.place import Place
from firstfault.subject.incident import incident
from firstfault.subject.replays import replays
from firstfault.subject.subject import Subject
from firstfault.verdict import SubjectKind


@check(
    layer=Layer.MODEL,
    needs={incident, answers_of},
    detects={
        "weights_not_loaded": 0.8,
        "train_mode_serving": 0.8,
        "precision_loss": 0.8,
        "wrong_version_routed": 0.8,
        "cache_corruption": 0.8,
        "batch_dependence": 0.8,
    },
    kind=SubjectKind.INCIDENT,
)
def served_logits(subject: Subject, *, share: float = 0.03) -> Iterator[Judgement]:
    """Find answers that the offline model does not give to the same tensors, and what gives them again.

    Measures: the share of samples whose scores differ by more than .01 from the offline model's, less that of the
        control; then whether its copy in lower precision or in train mode gives them again, whether they are the
        answers to other requests, of another version, or only of requests with several samples.
    Fails when: it is above `share`.
    Not a fault when: the control differs as much, or another version answers as well by its labels.
    Source: Sculley et al. 2015, Hidden Technical Debt in Machine Learning Systems.
    """
    found, both = answers_of(subject), replays(subject)
    before = found.control_share
    if before > 0.5:
        yield skipped(both.why_not or "the offline model does not give the control's answers either")
        return
    if found.share - (0.0 if before != before else before) <= share:
        yield passed(f"the offline model gives {1 - found.share:.1%} of the served answers", value=found.share)
        return
    message = f"{found.share:.0%} of the answers are not the offline model's to the same tensors ({before:.0%} before)"
    explained = next(found.explanations(), None)
    if explained is None:
        yield Judgement(Status.FAIL, message, found.share, share, faults={"weights_not_loaded": 0.4})
        return
    told = f"{message}: {explained.message}"
    if explained.weight == 0:
        yield Judgement(Status.WARN, told, found.share, share, faults={})
        return
    where, faults = Place.cases(*found.replicas), {explained.fault: explained.weight}
    yield Judgement(Status.FAIL, told, found.share, share, where=where, faults=faults)
