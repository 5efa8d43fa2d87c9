"""Targets that a loss doesn't take, as a watched loop shows them."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import Judgement, check, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.training.losses import OF_SHARES


@check(layer=Layer.TRAINING, needs={"record"}, detects={"wrong_loss": 0.92})
def targets_outside_shares(subject: Subject, *, beyond: float = 0.3) -> Iterator[Judgement]:
    """Find losses of shares whose targets are none: binary cross-entropy has no floor then, kl_div no value.

    Measures: the lowest and the highest target in the sampled calls, and the lowest mean loss; of kl_div, where its
        targets are not said to be logarithms.
    Fails when: a target lies further than `beyond` outside of 0–1, or lies outside and the loss has been below 0.
    Not a fault when: labels are smoothed and blurred to 0.7–1.2, as those of an adversary are, and the loss stays above
        0.
    Source: torch.nn.BCELoss: targets are numbers between 0 and 1. The bound is a choice of ours: it lies between such
        labels and those of −1 and 1, or 1 and 2.
    """
    seen = {
        name: inputs
        for name, inputs in subject.record.loss_inputs.items()
        if name in (*OF_SHARES, "kl_div") and "low" in inputs
    }
    if not seen:
        yield skipped("no binary cross-entropy or kl_div was learnt from")
        return
    for name, inputs in seen.items():
        low, high = inputs["low"], inputs["high"]
        outside = max(-low, high - 1)
        if outside > beyond or (outside > 0 and inputs["loss"] < 0):
            below = f", and was as low as {inputs['loss']:.3g}" if inputs["loss"] < 0 else ""
            yield Judgement(
                Status.FAIL,
                f"{name} takes targets from 0 to 1, but they reach from {low:.3g} to {high:.3g}{below}",
                value=outside,
                threshold=beyond,
                where=Place.part("the loss"),
                fix="give it the softmax of the targets, or log_target=True where they are logarithms"
                if name == "kl_div"
                else "scale or encode the targets to 0–1, or use a loss of numbers: mse_loss",
            )
            return
    yield passed(f"the targets of {', '.join(seen)} lie between 0 and 1")


@check(layer=Layer.TRAINING, needs={"record"}, detects={"wrong_loss": 0.92})
def one_partner_for_all(subject: Subject, *, fewest: int = 3) -> Iterator[Judgement]:
    """Find contrastive losses that ask every row for the same partner.

    Measures: in how many sampled calls cross-entropy is given similarities `(N, N)`, as the product of two answers,
        and one target for all rows.
    Fails when: it is so in all calls, of `fewest` and more.
    Not a fault when: the similarity with the own partner stands in a column of its own, beside those with others, as of
        MoCo: such similarities are no single product; or a matrix of the product is a parameter, as of a layer.
    Source: van den Oord et al. 2018, InfoNCE; Radford et al. 2021, whose labels are arange(N). One call would prove it:
        `fewest` leaves room for a last batch of its own.
    """
    seen = subject.record.loss_inputs.get("cross_entropy")
    if seen is None or seen["calls"] < fewest:
        yield skipped("no cross-entropy was sampled often enough")
        return
    if seen.get("one_partner", 0) < seen["calls"]:
        yield passed("no similarities of all pairs are given one target for all rows")
        return
    yield Judgement(
        Status.FAIL,
        f"in all of {seen['calls']:.0f} calls cross_entropy asks every row of the similarities for the same entry",
        value=seen["calls"],
        threshold=0,
        where=Place.part("the loss"),
        fix="ask each row for its own partner: labels = torch.arange(N)",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"flipped_loss_sign": 0.92})
def pushed_from_labels(subject: Subject, *, against: float = -0.3, fewest: int = 5) -> Iterator[Judgement]:
    """Find losses that move outputs away from their labels, whatever they are made of.

    Measures: on the sampled steps, how minus the slope of the loss in an output correlates with its labels, −1 to 1: a
        class for each row, or yes or no for each value. Outputs are answers of models, and what torch's losses are
        given of them. Labels are tensors of the loader's batch but for the inputs, or targets of torch's losses; of
        several that fit, the one that the output moves towards the most counts.
    Fails when: it is below 0 in each of at least `fewest` sampled steps, and below `against` as a mean.
    Not a fault when: no such labels are seen, the loss has no slope, or its negative is maximised; the loop acts.
    Source: Humbatova et al. 2020, wrong sign of the loss. Of cross-entropy, and of squared errors, the correlation is
        that of labels with labels less outputs; the bounds are a choice of ours: of labels of something else it is
        about 0, and of either sign.
    """
    record = subject.record
    if record.draws or len(record.rewards):
        yield skipped("a loop that acts learns from what came of its choices: they are no labels")
        return
    values = [-value for value in record.pull.values] if record.maximises else record.pull.values
    if len(values) < fewest:
        yield skipped("no outputs were seen beside labels of theirs, with a slope of the loss in them")
        return
    mean = sum(values) / len(values)
    if max(values) < 0 and mean < against:
        yield Judgement(
            Status.FAIL,
            f"the loss moves outputs away from their labels: minus its slope correlates by {mean:.2f} with them",
            value=mean,
            threshold=against,
            where=Place.part("the loss"),
            fix="minimise what is large where outputs are wrong: look at signs, and at which of two cases is which",
        )
        return
    yield passed("the loss does not move outputs away from their labels", value=mean)
