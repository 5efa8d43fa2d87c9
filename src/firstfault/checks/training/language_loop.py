"""How a loop trains a language model: accumulated passes, new tokens, adapters, and what counting would have learnt."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject

SEEN = 0.95
"""The weight of what the loop's own passes, or the weights at its end, show by themselves."""
LAST = 3  # the last third of the losses: what was learnt before is no end
DOUBTS = {"labels_shifted_twice": 0.3, "learning_rate_too_low": 0.3, "too_few_epochs": 0.3}
"""None of them stands by this alone."""


@check(layer=Layer.TRAINING, needs={"record"}, detects={"accumulation_normalisation": SEEN})
def accumulation_by_batches(subject: Subject, *, most: float = 1.5) -> Iterator[Judgement]:
    """Find accumulated gradients in which every batch counts alike, however few of its tokens are supervised.

    Measures: on the sampled steps of several passes, each pass's loss that is learnt from over the sum of its tokens'
        losses: what one token weighs. Right is one weight for all tokens of a step.
    Fails when: the weights are as one over the batches' own tokens, so that eight batches of one row are another step
        than one of eight, and the heaviest token of a step weighs `most` times as much as the lightest.
    Not a fault when: batches have as many tokens as each other, within a quarter.
    Source: transformers issue 34198 (2024), gradient accumulation. The bound is a choice of ours.
    """
    seen = subject.record.tokens
    if not seen.rounds:
        yield skipped("no step of several passes over unequal numbers of tokens was seen")
        return
    if seen.by_batch < seen.rounds or seen.heaviest < most:
        yield passed(f"{seen.rounds - seen.by_batch} of {seen.rounds} steps weigh all tokens alike", value=1.0)
        return
    yield Judgement(
        Status.FAIL,
        f"accumulated batches count alike, whatever their tokens: one token weighs {seen.heaviest:.1f} times as much "
        "as another of the same step",
        value=seen.heaviest,
        threshold=most,
        where=Place.part("training loop"),
        fix="sum the losses of the tokens, and divide by the supervised tokens of all batches of the step",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"untrained_new_tokens": SEEN})
def new_tokens_in_loop(subject: Subject) -> Iterator[Judgement]:
    """Find new tokens whose embedding the training left as it was made.

    Measures: the tokens of the rows whose embedding is the mean of all others, as transformers makes that of a new
        token, and is the same at the end of the training, with what adapters add to it.
    Fails when: there is one.
    Not a fault when: rows of new tokens were drawn at random: whether they are new can't be told, and it is not.
    Source: PEFT, `modules_to_save` and `trainable_token_indices`: an adapter trains no embedding by itself.
    """
    seen = subject.record.tokens
    if not seen.rows:
        yield skipped("no rows of tokens were seen")
        return
    if not seen.unmoved:
        yield passed("no token of the rows ends with an embedding that is the mean of all others", value=0)
        return
    yield Judgement(
        Status.FAIL,
        f"the rows hold new tokens whose embedding is not trained: {', '.join(seen.unmoved[:4])}",
        value=len(seen.unmoved),
        threshold=0,
        where=Place.parameters("embedding"),
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"adapter_empty": SEEN})
def adapter_in_loop(subject: Subject) -> Iterator[Judgement]:
    """Find low-rank adapters that end the training as they began it: adding nothing.

    Measures: how many second factors of PEFT's adapters are zero at the end.
    Fails when: all of them are.
    Source: PEFT, LoRA: the second factor begins at zero, so that one step with a gradient changes it.
    """
    seen = subject.record.tokens
    if not seen.factors or not subject.record.steps:
        yield skipped("no adapter was trained")
        return
    if seen.zero_factors < seen.factors:
        told = f"{seen.factors - seen.zero_factors} of {seen.factors} adapted modules were changed"
        yield passed(told, value=seen.zero_factors)
        return
    yield Judgement(
        Status.FAIL,
        f"the adapter is empty: after {subject.record.steps} steps all of its {seen.factors} second factors are zero",
        value=seen.zero_factors,
        threshold=seen.factors,
        where=Place.parameters("lora_B"),
        fix="make the optimizer after the adapter, of its parameters, and leave the adapter switched on",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects=DOUBTS)
def no_better_than_pairs(subject: Subject, *, fewest: int = 100) -> Iterator[Judgement]:
    """Warn of language models that end no better than counts of pairs of tokens in the same rows.

    Measures: the loss a supervised token, over the last third of the sampled steps, and that of counts of pairs made
        of all rows but the one judged.
    Warns when: the model's is not below that of the pairs, after `fewest` steps and more.
    Not a fault when: the training is shorter, or the rows repeat what a pair tells; so it is a warning, which supports
        what other checks show.
    Source: Jurafsky & Martin, Speech and Language Processing, n-gram models as a baseline. Labels that are shifted
        twice ask for what even a sound model can tell no better.
    """
    seen = subject.record.tokens
    if not len(seen.loss) or not np.isfinite(seen.bigram):
        yield skipped("no losses of tokens were seen")
        return
    if subject.record.steps < fewest:
        yield skipped(f"{subject.record.steps} steps are too few to be compared with counts")
        return
    values = np.asarray(seen.loss.values, float)
    loss = float(np.mean(values[-max(1, len(values) // LAST) :]))
    counts = f"counts of pairs cost {seen.bigram:.2f}, of tokens {seen.unigram:.2f}"
    told = f"the loss ends at {loss:.2f} nat a token; {counts}"
    if loss < seen.bigram:
        yield passed(told, value=loss)
        return
    yield Judgement(Status.WARN, told, value=loss, threshold=seen.bigram, where=Place.part("training loop"))
