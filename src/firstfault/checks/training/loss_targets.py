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
