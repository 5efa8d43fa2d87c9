"""Does the output activation fit the loss and the labels? Judged by what the network can reach, not by names."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.model._output_range import Reach, reach
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.place import OUTPUT_LAYER
from firstfault.subject.loss_call import loss_call
from firstfault.subject.subject import Subject
from firstfault.training.losses import are_distributions

LOGITS = ("cross_entropy", "binary_cross_entropy_with_logits")
SPOKEN = {
    "cross_entropy": "CrossEntropyLoss",
    "nll_loss": "NLLLoss",
    "binary_cross_entropy": "BCELoss",
    "binary_cross_entropy_with_logits": "BCEWithLogitsLoss",
}
NEAR, ROUNDING = 0.02, 1e-3  # of the range, of the largest label: as near as draws of the last layer come to a bound
OUTSIDE = 0.01  # by which a number misses 0–1: more than rounding, less than any other activation
FLAT = 50.0  # where softplus is its argument: the exponential would overflow


def _one_unit(subject: Subject) -> bool:
    """Whether the output never changes: another check's fault, which must not be named twice."""
    try:
        return reach(subject).constant is not None
    except Missing:
        return False


def _distribution(subject: Subject) -> bool:
    """Whether the loss is given a distribution over classes per sample, whatever the last layer's weights."""
    try:
        return reach(subject).simplex
    except Missing:
        call = loss_call(subject)
        if call.input is None:
            return False
        return are_distributions(call.input.movedim(1, -1) if call.input.ndim > 1 else call.input)


@check(layer=Layer.MODEL, needs={"batch", "labels", "outputs"}, detects={"redundant_softmax": 0.95})
def redundant_softmax(subject: Subject) -> Iterator[Judgement]:
    """Find probabilities where the loss applies softmax itself.

    Measures: the floor of the loss, ln(e + K − 1) − 1 for K classes, below which it cannot fall. What reaches the loss
        function is looked at, in the user's own loop too.
    Fails when: every row that the loss gets is a distribution, whatever the weights of the last layer.
    Not a fault when: the rows are log-probabilities: log-softmax of them is themselves.
    Source: Schoop et al. 2021, UMLAUT; benchmarks/localise.py, fault redundant_softmax. The loss at initialisation
        can't see it (0.998–1.003 × ln K).
    """
    call = loss_call(subject)
    if call.name not in LOGITS or subject.recipe.task not in ("classification", "language_model"):
        yield skipped("the loss is not known to apply softmax itself")
        return
    if not _distribution(subject) or _one_unit(subject):
        yield passed("the outputs are no probabilities, as the loss expects")
        return
    width = _width(call.input)
    floor = math.log(math.e + width - 1) - 1
    yield Judgement(
        Status.FAIL,
        f"the {width} outputs are probabilities already, so the loss cannot fall below {floor:.2f}",
        value=floor,
        threshold=0.0,
        where=OUTPUT_LAYER,
        fix=f"return logits: {SPOKEN[call.name]} applies the activation itself",
    )


def _width(given: torch.Tensor | None) -> int:
    return int(given.shape[1]) if given is not None and given.ndim > 1 else 1


@check(layer=Layer.MODEL, needs={"batch", "labels", "outputs"}, detects={"missing_output_activation": 0.95})
def missing_output_activation(subject: Subject) -> Iterator[Judgement]:
    """Find raw outputs where the loss expects probabilities (BCELoss) or log-probabilities (NLLLoss).

    Measures: what the outputs can reach while the weights of the last layer are drawn wide.
    Fails when: BCELoss is given outputs without a bound on either side, or NLLLoss outputs whose exponentials don't sum
        to 1, as raw outputs and probabilities.
    Source: Humbatova et al. 2020, missing or wrong last activation; benchmarks/localise.py, fault
        missing_output_activation.
    """
    name = loss_call(subject).name
    if name not in ("binary_cross_entropy", "nll_loss"):
        yield skipped("the loss is not known to expect probabilities")
        return
    if _one_unit(subject):
        yield skipped("the output never changes")
        return
    found = reach(subject)
    if name == "binary_cross_entropy" and found.open_below and found.open_above:
        yield _absent(
            f"BCELoss expects probabilities, but the outputs reach from {found}",
            "add a sigmoid, or use BCEWithLogitsLoss",
        )
    elif name == "nll_loss" and found.simplex:
        yield _absent(
            "NLLLoss expects log-probabilities, but the outputs are probabilities",
            "use log_softmax in place of softmax",
        )
    elif name == "nll_loss" and not found.log_simplex:
        yield _absent(
            "NLLLoss expects log-probabilities, but the exponentials of the outputs do not sum to 1",
            "add log_softmax, or use CrossEntropyLoss",
        )
    else:
        yield passed("the outputs are what the loss expects")


def _absent(text: str, fix: str) -> Judgement:
    return Judgement(Status.FAIL, text, where=OUTPUT_LAYER, fix=fix)


@check(layer=Layer.MODEL, needs={"batch", "labels", "outputs"}, detects={"wrong_output_activation": 0.92})
def wrong_output_activation(
    subject: Subject, *, beyond: float = 0.05, floor: float = 0.1, several: float = 0.05
) -> Iterator[Judgement]:
    """Find an output activation that cannot reach the labels, or leaves the loss a floor.

    Measures: for regression, the share of training labels outside of what the outputs can reach. For losses on logits,
        the loss that no weights can go below, with bounded outputs (sigmoid, tanh), as a share of the loss of guessing.
    Fails when: the share of labels is above `beyond`, or the floor is above `floor`. Also when logits never go below 0,
        as after a ReLU; when BCELoss is given numbers below 0 or above 1 from an activation; and when softmax meets
        labels that don't exclude each other: in more than the share `several` of the rows not exactly one is true.
    Source: Schoop et al. 2021, UMLAUT; Braiek & Khomh 2023, TheDeepChecker, output range; benchmarks/localise.py, fault
        wrong_output_activation. The bounds are a choice of ours; tests/checks/model/test_every_fault.py holds the cases
        that they separate.
    """
    if _one_unit(subject):
        yield skipped("the output never changes")
        return
    recipe, name, found = subject.recipe, loss_call(subject).name, reach(subject)
    if recipe.task == "regression":
        yield _against_labels(recipe.train.y, found, beyond)
    elif recipe.task == "multilabel" and found.simplex and _several_true(recipe.train.y, several):
        yield _wrong(
            "softmax makes the labels exclude each other, but several can be true", 1.0, "use sigmoid per label"
        )
    elif name == "binary_cross_entropy":
        yield _against_probability(found)
    elif name in LOGITS and not found.simplex and not found.log_simplex:
        yield _against_logits(str(name), found, _width(loss_call(subject).input), floor)
    else:
        yield passed("the output activation fits")


def _several_true(y: torch.Tensor, share: float) -> bool:
    return y.ndim == 2 and bool((y.sum(1) != 1).float().mean() > share)


def _against_labels(y: torch.Tensor, found: Reach, beyond: float) -> Judgement:
    y = y.float()[torch.isfinite(y.float())]
    largest = float(y.abs().max() if len(y) else 0)
    margin = NEAR * (found.high - found.low) if found.bounded else ROUNDING * largest
    below = (y < found.low - margin) if not found.open_below else torch.zeros_like(y, dtype=torch.bool)
    above = (y > found.high + margin) if not found.open_above else torch.zeros_like(y, dtype=torch.bool)
    share = float((below | above).float().mean()) if len(y) else 0.0
    if share > beyond:
        return _wrong(
            f"the outputs reach from {found} only, but {share:.0%} of the labels lie outside",
            share,
            "end in a linear layer",
        )
    return passed("the outputs can reach the labels", value=share)


def _against_probability(found: Reach) -> Judgement:
    outside = found.low < -OUTSIDE or found.high > 1 + OUTSIDE
    if outside and not (found.open_below and found.open_above):
        return _wrong(f"BCELoss expects probabilities, but the outputs reach from {found}", found.high, "use sigmoid")
    return passed("the output activation fits")


def _against_logits(name: str, found: Reach, width: int, floor: float) -> Judgement:
    """The loss that remains when every output is at the best end of its range, as a share of guessing's."""
    low = -math.inf if found.open_below else found.low
    high = math.inf if found.open_above else found.high
    if name == "cross_entropy" and width > 1:
        left = math.log1p((width - 1) * math.exp(low - high)) / math.log(width)
        clipped = low >= 0 and found.open_above
    else:
        left = max(_softplus(-high), _softplus(low)) / math.log(2)
        clipped = False
    if left > floor:
        return _wrong(
            f"{SPOKEN[name]} expects logits, but the outputs reach from {found} only: "
            f"{left:.0%} of the loss of guessing always remains",
            left,
            "return logits, without an activation",
        )
    if clipped and found.low == 0:
        return Judgement(
            Status.FAIL,
            f"the logits never go below 0, as after a ReLU: they reach from {found}",
            value=found.low,
            where=OUTPUT_LAYER,
            faults={"wrong_output_activation": 0.6},
            fix="return logits, without an activation",
        )
    return passed("the outputs can reach what the loss asks for", value=left)


def _softplus(value: float) -> float:
    return value if value > FLAT else math.log1p(math.exp(value))


def _wrong(text: str, value: float, fix: str) -> Judgement:
    return Judgement(Status.FAIL, text, value=value, where=OUTPUT_LAYER, fix=fix)
