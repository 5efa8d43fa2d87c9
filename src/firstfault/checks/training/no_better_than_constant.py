"""A watched training that ends no better than an answer that does not look at the inputs."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import Judgement, check, judge, skipped
from firstfault.finding import Layer
from firstfault.place import Place
from firstfault.subject.subject import Subject

SUSPECTS = {
    "learning_rate_too_high": 0.4,
    "learning_rate_too_low": 0.4,
    "too_few_epochs": 0.3,
    "wrong_optimizer": 0.3,
    "wrong_loss": 0.3,
    "redundant_softmax": 0.3,
    "missing_normalisation": 0.3,
    "exploding_init": 0.3,
    "no_shuffle": 0.2,
}
"""None of them stands by this alone: running the loop again without one has to show which it is."""


@check(layer=Layer.TRAINING, needs={"record"}, detects=SUSPECTS)
def no_better_than_constant(
    subject: Subject, *, ratio: float = 0.98, clearly: float = 0.8, fewest: int = 200
) -> Iterator[Judgement]:
    """Find watched trainings whose loss ends where that of a constant answer lies.

    Measures: the loss in the last third of the sampled calls of torch's loss function, over what the best constant
        answer to their targets costs: the shares of the classes, or the mean.
    Fails when: it is `ratio` and more.
    Not a fault when: every call has one target only, as the two of an adversary; the loss has weights or no reduction.
        Where the training can be replayed, it is judged against simple models instead. Of fewer than `fewest` targets,
        only a loss below `clearly` of a constant answer's says something.
    Source: Karpathy 2019, "input-independent baseline". The bounds are a choice of ours: rounding and the noise of some
        1,000 targets, and that of 64, which is 12 %.
    """
    if not subject.failed(Subject.recipe_and_classes):
        yield skipped("the training is judged against simple models instead")
        return
    found = subject.record.constants
    if not found:
        yield skipped("no loss of torch was learnt from whose constant answer is known")
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
