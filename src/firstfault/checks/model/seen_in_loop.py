"""Faults of a model that a watched loop shows as it trains, whatever the model is given: no replay is needed."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.finding import Layer, Status
from firstfault.place import OUTPUT_LAYER, SHOWN, Place
from firstfault.probe.loss_inputs import SOFTMAX, WRITTEN_OUT
from firstfault.probe.record import Record, Spread
from firstfault.subject.subject import Subject
from firstfault.training.losses import OF_CLASSES, OF_LOG_SHARES

SPOKEN = {
    "cross_entropy": "cross_entropy applies softmax itself",
    "binary_cross_entropy_with_logits": "binary_cross_entropy_with_logits applies sigmoid itself",
}
UNSEEN = "no training was watched before the model was looked at"


def record_of(subject: Subject) -> Record | None:
    """What was seen of the loop; None where a model is examined before it is trained."""
    record, trained = subject.made(Subject.record), subject.made(Subject.trained)
    return record or (trained.record if trained is not None else None)


@check(layer=Layer.MODEL, detects={"output_shape_mismatch": 0.95})
def broadcast_loss(subject: Subject) -> Iterator[Judgement]:
    """Find a watched loss in which outputs `(N, 1)` meet labels `(N,)`, which gives N × N differences without an error.

    Measures: the shapes that torch's losses of differences are called with; where squared or absolute differences are
        written out in the loop, or outputs are weighed or chosen by labels, the shapes that autograd knows of them.
    Fails when: both sides have as many numbers, and their differences are more.
    Not a fault when: both sides have as many axes, as the quantiles of two distributions, or an axis is added with
        `[:, None]` where the difference is written.
    Source: torch warns of it once, "Using a target size that is different to the input size"; benchmarks/localise.py,
        fault output_shape_mismatch.
    """
    record = record_of(subject)
    if record is None:
        yield skipped(UNSEEN)
        return
    if not record.losses and not record.spread:
        yield skipped("no loss of torch was seen")
        return
    for name, spread in record.spread.items():
        yield Judgement(
            Status.FAIL,
            f"{name or 'the loss'} is given outputs {spread.outputs} and labels "
            f"{spread.target}: {_differences(spread)} differences, so that every output learns from every label",
            where=spread.line or OUTPUT_LAYER,
            fix="give both the same shape: outputs.squeeze(1), or labels.unsqueeze(1)",
        )
    if not record.spread:
        yield passed("no loss was given shapes that are broadcast")


def _differences(spread: Spread) -> str:
    return " × ".join(str(length) for length in (max(spread.outputs), max(spread.target)))


@check(
    layer=Layer.MODEL,
    detects={
        "redundant_softmax": 0.95,
        "missing_output_activation": 0.95,
        "wrong_output_activation": 0.92,
        "softmax_wrong_axis": 0.95,
        "output_shape_mismatch": 0.95,
    },
)
def loss_given_other_numbers(subject: Subject, *, fewest: int = 3) -> Iterator[Judgement]:
    """Find watched losses that apply an activation themselves and are given its result, or that lack it.

    Measures: on the sampled steps, in how many calls cross-entropy is given probabilities, or a loss on logits the
        result of a sigmoid or ReLU, as autograd knows it; NLLLoss rows whose exponentials don't sum to 1, and whether
        a log-softmax gave them, which ran over another axis then; CTC and Kullback-Leibler losses numbers above 0,
        which no log-probability is; a written-out cross-entropy the logarithm of a layer's or a ReLU's outputs; a
        written-out loss a softmax over the samples of a batch; and a loss of classes outputs `(N, K, …)` that were
        flattened with the classes ahead of the positions.
    Fails when: it is so in every sampled call, of `fewest` and more.
    Not a fault when: cross-entropy is given log-probabilities: log-softmax of them is themselves; or a loss has other
        terms than logarithms, as that of counts.
    Source: Schoop et al. 2021, UMLAUT; Humbatova et al. 2020, missing or wrong last activation; torch.nn.NLLLoss. One
        call would prove it: `fewest` leaves room for a phase of a training that is made another way.
    """
    record = record_of(subject)
    if record is None:
        yield skipped(UNSEEN)
        return
    judged = {name: seen for name, seen in record.loss_inputs.items() if seen["calls"] >= fewest}
    if not judged:
        yield skipped("no loss of classes or shares was sampled often enough")
        return
    found = [judgement for name, seen in judged.items() if (judgement := _misfit(name, seen)) is not None]
    yield from found or [passed(f"given what it takes: {', '.join(judged)}")]


def _misfit(name: str, seen: dict[str, float]) -> Judgement | None:
    calls = seen["calls"]
    if name == WRITTEN_OUT:
        return _logarithm(seen)
    if name == SOFTMAX:
        return _over_samples(calls) if seen["samples"] == calls else None
    if name in OF_CLASSES and seen.get("scrambled") == calls:
        return _scrambled(name, calls)
    if name == "nll_loss":
        return _not_normalised(seen) if seen["unnormalised"] == calls else None
    if name in OF_LOG_SHARES:
        return _positive(name, calls) if seen.get("positive") == calls else None
    if name not in SPOKEN:
        return None
    if name == "cross_entropy" and seen["probabilities"] == calls:
        return _misgiven(name, "probabilities", "redundant_softmax", 0.95)
    for activation in ("sigmoid", "relu"):
        if seen.get(activation) == calls:
            return _misgiven(name, f"the result of a {activation}", "wrong_output_activation", 0.92)
    return None


def _logarithm(seen: dict[str, float]) -> Judgement | None:
    bare = {
        "raw": ("the raw outputs of a layer, which may be below 0", "missing_output_activation"),
        "relu": ("what a ReLU gives, which is 0 for half of the numbers", "wrong_output_activation"),
    }
    for given, (text, fault) in bare.items():
        if seen.get(given) == seen["calls"]:
            return _fails(
                f"the loss that the loop writes out takes the logarithm of {text}, in every call that was looked at",
                fault,
                0.92,
                "use cross_entropy on raw outputs, or log_softmax in place of the logarithm",
            )
    return None


def _over_samples(calls: float) -> Judgement:
    text = (
        f"the softmax of outputs (N, K) that the loss is made of runs over the N samples, in all of {calls:.0f} calls"
    )
    return _fails(text, "softmax_wrong_axis", 0.92, "let it run over the classes: dim=1")


def _scrambled(name: str, calls: float) -> Judgement:
    text = f"a row of what {name} is given mixes classes and positions of the outputs, in all of {calls:.0f} calls"
    return _fails(text, "output_shape_mismatch", 0.95, "move the classes to the end before the positions are flattened")


def _misgiven(name: str, given: str, fault: str, weight: float) -> Judgement:
    text = f"{name} is given {given} in every call that was looked at, but {SPOKEN[name]}"
    return _fails(text, fault, weight, "return logits")


def _positive(name: str, calls: float) -> Judgement:
    text = f"{name} expects log-probabilities, but in all of {calls:.0f} calls it is given numbers above 0"
    return _fails(text, "wrong_output_activation", 0.92, "give it log_softmax of the raw outputs")


def _not_normalised(seen: dict[str, float]) -> Judgement:
    calls = seen["calls"]
    text = (
        f"nll_loss expects log-probabilities, but in all of {calls:.0f} calls the exponentials of a row don't sum to 1"
    )
    if seen.get("log_softmax") == calls:
        text += ", though a log_softmax gave them: it runs over another axis"
        return _fails(text, "softmax_wrong_axis", 0.95, "run it over the classes: log_softmax(outputs, dim=1)")
    return _fails(text, "missing_output_activation", 0.95, "add log_softmax, or use cross_entropy")


def _fails(text: str, fault: str, weight: float, fix: str) -> Judgement:
    return Judgement(Status.FAIL, text, where=OUTPUT_LAYER, faults={fault: weight}, fix=fix)


@check(layer=Layer.MODEL, detects={"wrong_gradient": 0.95})
def wrong_gradient(subject: Subject, *, off: float = 0.5) -> Iterator[Judgement]:
    """Find autograd functions of the user's whose backward pass is not the derivative of their forward pass.

    Measures: for a call of each function that the watched losses go through, with its inputs in float64, the share of
        up to 24 numbers of an input at which what the backward pass gives is further than a tenth from the central
        difference, 0–1. Of other inputs than the first, those of the other sign count alone.
    Fails when: the share is above `off`.
    Not a fault when: the forward pass does not move with a number, or not smoothly, or gives back what it is given: a
        rounding that is passed straight through, a spike's surrogate, a reversed or scaled gradient.
    Source: torch.autograd.gradcheck; Bengio et al. 2013 on estimators that pass straight through; Ganin & Lempitsky
        2015 on reversed gradients. A backward pass is right at all numbers or wrong at most, so that any bound between
        would do.
    """
    record = record_of(subject)
    if record is None:
        yield skipped(UNSEEN)
        return
    if not record.backward_by_hand:
        yield skipped("no backward pass by hand could be held against its forward pass")
        return
    for seen in record.backward_by_hand:
        yield judge(
            seen.off,
            above=off,
            where=seen.line,
            message=f"the backward pass of {seen.name} is not the derivative of its forward pass at {seen.off:.0%} of "
            "the numbers that were tried",
            fix="mend it, and hold it against torch.autograd.gradcheck",
        )


@check(layer=Layer.MODEL, detects={"norm_statistics_wrong": 0.92})
def norms_learn_in_eval_mode(subject: Subject) -> Iterator[Judgement]:
    """Find batch normalisation that a watched loop keeps in eval mode, with the statistics of no data.

    Measures: the number of such modules: in eval mode on every sampled step, with means of 0 and variances of 1 at the
        end, which normalise nothing.
    Fails when: there is one.
    Not a fault when: the statistics are those of data, as of a pre-trained model that is fine-tuned.
    Source: torch.nn.BatchNorm1d: statistics are updated in train mode only; Ioffe & Szegedy 2015 on what is lost
        without.
    """
    record = record_of(subject)
    if record is None:
        yield skipped(UNSEEN)
        return
    names = record.norms_in_eval
    if not names:
        yield passed("every normalisation of the loop learns, or has learnt, its statistics")
        return
    yield Judgement(
        Status.FAIL,
        f"{len(names)} batch normalisations are in eval mode whenever the loop learns, with statistics of no data: "
        "they normalise nothing",
        value=len(names),
        threshold=0,
        where=Place.modules(*names[:SHOWN]),
        fix="call model.train() before the training, and eval() for validation only",
    )
