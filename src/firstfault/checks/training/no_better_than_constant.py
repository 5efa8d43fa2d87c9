"""A watched training that ends no better than an answer that does not look at the inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.training._beside_the_loss import rise_of
from firstfault.finding import Layer
from firstfault.place import Place
from firstfault.probe.record import Record
from firstfault.subject.subject import Subject

FEWEST_LOSSES = 5  # in a tenth of the steps, for a standard error
SUSPECTS = {
    "learning_rate_too_high": 0.4,
    "learning_rate_too_low": 0.4,
    "wrong_loss": 0.3,
    "redundant_softmax": 0.3,
    "missing_normalisation": 0.3,
}
"""None of them stands by this alone: running the loop again without one has to show which it is."""


@check(layer=Layer.TRAINING, needs={"record"}, detects=SUSPECTS)
def no_better_than_constant(
    subject: Subject, *, ratio: float = 0.98, errors: float = 3.0, clearly: float = 0.8, fewest: int = 200
) -> Iterator[Judgement]:
    """Find watched trainings whose loss ends where that of a constant answer lies.

    Measures: the loss in the last third of the sampled calls of torch's loss function, over what the best constant
        answer to their targets costs: the shares of the classes, or the mean. Of any other loss, how many standard
        errors its last tenth lies below its first.
    Fails when: the ratio is `ratio` and more.
    Not a fault when: every call has one target only, as the two of an adversary; the loss has weights or no reduction.
        A loss whose constant is not known, and that lies less than `errors` standard errors below its start, tells
        nothing either way: that of a policy, or of an adversary, need not fall.
        Where the training can be replayed, it is judged against simple models instead. Of fewer than `fewest` targets,
        only a loss below `clearly` of a constant answer's says something.
    Source: Karpathy 2019, "input-independent baseline". The bounds are a choice of ours: rounding and the noise of some
        1,000 targets, and that of 64, which is 12 %.
    """
    if not subject.failed(Subject.recipe_and_classes):
        yield skipped("the training is judged against simple models instead")
        return
    if subject.record.generated:
        yield skipped("a critic is learnt against a generator, which has to make it no better than a constant answer")
        return
    if subject.record.draws or len(subject.record.rewards):
        yield skipped("what a loop that acts has learnt shows in its rewards, and in no loss")
        return
    found = subject.record.constants
    if not found:
        yield from _against_the_start(subject.record, errors)
        return
    name, seen = max(found.items(), key=lambda item: item[1]["loss"] / max(item[1]["constant"], 1e-12))
    value = seen["loss"] / max(seen["constant"], 1e-12)
    if seen["targets"] < fewest and value > clearly:
        yield skipped(f"a loss of {value:.2f} of a constant answer's, of {seen['targets']:.0f} targets, may be chance")
        return
    yield judge(
        value,
        above=ratio,
        where=Place.part("training loop"),
        message=f"{name} ends at {seen['loss']:.4g}; the best answer that does not look at the inputs costs "
        f"{seen['constant']:.4g}",
        fix="look at what the model is given and at the size of its steps: it has learnt nothing from its inputs",
    )


def _of_several_losses(record: Record) -> bool:
    """Whether several models learn by optimizers from losses of their own: encoder and decoder share one."""
    of_first = record.lr.seen
    return record.learning_models > 1 and record.steps > of_first and record.backwards > of_first


def _against_the_start(record: Record, errors: float) -> Iterator[Judgement]:
    """Whether a loss of the user's own fell below that of the untrained model."""
    values = np.asarray(record.loss.values, float)
    if len(values) < 10 * FEWEST_LOSSES or _of_several_losses(record) or not np.isfinite(values).all():
        yield skipped("no loss was learnt from whose constant answer is known, and none can be compared with its start")
        return
    last, first, fall = rise_of(record.loss.values[::-1])
    if fall < errors:
        yield skipped(f"the loss lies {fall:.1f} standard errors below its start, which tells nothing either way")
        return
    yield passed(f"the loss fell from {first:.4g} to {last:.4g}", value=fall)
