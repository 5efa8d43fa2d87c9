"""What the outputs of modules tell during training: dead, saturated, constant, or on scales that differ too much."""

from __future__ import annotations

import math
from collections.abc import Iterator

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.training._record_summary import learns, pushed
from firstfault.checks.training.gradient_rules import NOT_FINITE, middle, settled
from firstfault.finding import Layer, Status
from firstfault.place import SHOWN, Place
from firstfault.probe.record import Record
from firstfault.subject.subject import Subject

RELU = ("ReLU", "ReLU6")
BOUNDED = ("Sigmoid", "Tanh", "Softsign", "Hardsigmoid", "Hardtanh")
WEIGHTED = ("Linear", "LazyLinear", "Conv1d", "Conv2d", "Conv3d", "NonDynamicallyQuantizableLinear")


def _unseen(record: Record, text: str) -> str:
    """Why a rule has nothing to look at: nothing of its kind is there, or the watch had to pass it over."""
    reasons = [record.passed_over[part] for part in ("activations", "functions") if part in record.passed_over]
    return "; ".join([text, *reasons])


@check(layer=Layer.TRAINING, needs={"record"}, detects={"learning_rate_too_high": 0.3, "dead_relu": 0.3})
def dying_relu(subject: Subject, *, dead: float = 0.5, whole: float = 0.95) -> Iterator[Judgement]:
    """Find ReLUs, as modules or as functions, most of whose units fire for no sample.

    Measures: the share of dead units of the worst ReLU at the end of the training, 0–1: those that fired for no sample
        of five sampled batches in a row.
    Fails when: the share is at least `whole`, in a training that learns nothing.
    Warns when: the share is above `dead`. Units that died on the way speak for steps that are too large. Where at least
        `whole` of them were silent in the first batch, or no gradient was ever other than zero, it is the
        initialisation.
    Source: Amazon SageMaker Debugger, DeadRelu (50 % of the units of a layer); `whole` is a choice of ours, as a few
        units of a dead layer may fire by chance.
    """
    record = subject.record
    if record.first_nonfinite is not None:
        yield skipped(NOT_FINITE)
        return
    shares = {name: settled(entry.dead) for name, entry in record.activations.items() if entry.kind in RELU}
    shares = {name: values for name, values in shares.items() if len(values)}
    if not shares:
        yield skipped(_unseen(record, "no ReLU was called while steps were sampled"))
        return
    worst = max(shares, key=lambda name: shares[name][-1])
    value, first = float(shares[worst][-1]), float(record.activations[worst].dead[0])
    fault = "dead_relu" if first >= whole or not pushed(record) else "learning_rate_too_high"
    failed = value >= whole and not learns(record)
    yield judge(
        value,
        above=dead,
        otherwise=Status.FAIL if failed else Status.WARN,
        where=Place.modules(worst),
        message=f"{value:.0%} of the units of {worst} are dead at the end, {first:.0%} were silent in the first batch",
        faults={fault: 0.6 if failed else 0.3},
        fix="lower the learning rate, or use He initialisation or a leaky ReLU",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"saturating_activation": 0.3})
def saturated_activation(subject: Subject, *, share: float = 0.5) -> Iterator[Judgement]:
    """Find sigmoids and tanhs, soft and hard, between layers, as modules or as functions, whose slope is next to zero.

    Measures: the share of the outputs of the worst of them that come from inputs beyond ±5, 0–1, median over the
        sampled steps; of hard ones, the share of those at their bounds.
    Fails when: the share is above `share`, in a training that learns nothing.
    Warns when: the share is above `share`.
    Not a fault when: it is the last one of its model: a classifier that is sure saturates.
    Source: Amazon SageMaker Debugger, SaturatedActivation (50 % of a layer); Glorot & Bengio 2010.
    """
    record = subject.record
    if record.first_nonfinite is not None:
        yield skipped(NOT_FINITE)
        return
    named = {name: entry for name, entry in record.activations.items() if not entry.kind.endswith("Loss")}
    last = {record.model_of(name): name for name in named}
    inner = [(name, entry) for name, entry in named.items() if name not in last.values()]
    shares = {
        name: middle(entry.beyond) for name, entry in inner if entry.kind in BOUNDED and len(settled(entry.beyond))
    }
    if not shares:
        yield skipped(_unseen(record, "no sigmoid or tanh was called between layers while steps were sampled"))
        return
    worst = max(shares, key=lambda name: shares[name])
    failed = not learns(record)
    yield judge(
        shares[worst],
        above=share,
        otherwise=Status.FAIL if failed else Status.WARN,
        where=Place.modules(worst),
        message=f"{shares[worst]:.0%} of the outputs of {worst} are saturated",
        faults={"saturating_activation": 0.6 if failed else 0.3},
        fix="normalise before the activation, initialise smaller, or use ReLU",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"detached_graph": 0.1})
def tensor_variance(subject: Subject, *, smallest: float = 1e-6, largest: float = 1e6) -> Iterator[Judgement]:
    """Look for module outputs that hardly vary over samples and units, or vary wildly.

    Measures: the standard deviation of a module's outputs, median over the sampled steps.
    Warns when: it is below `smallest` of the largest output, or above `largest`.
    Source: Amazon SageMaker Debugger, TensorVariance, which leaves the bounds to the user; these are a choice of ours,
        far outside of what the sound trainings of tests/checks/training/test_rules.py show.
    """
    record = subject.record
    if record.first_nonfinite is not None:
        yield skipped(NOT_FINITE)
        return
    spreads = {
        name: (middle(entry.std), middle(entry.largest))
        for name, entry in record.activations.items()
        if len(settled(entry.std)) and not entry.kind.endswith("Loss")
    }
    if not spreads:
        yield skipped(_unseen(record, "no outputs of modules were seen"))
        return
    constant = [name for name, (std, size) in spreads.items() if size > 0 and std < smallest * size]
    wild = [name for name, (std, _) in spreads.items() if std > largest]
    if not constant and not wild:
        yield passed(
            f"the outputs of {len(spreads)} modules vary by {min(std for std, _ in spreads.values()):.1e} "
            f"to {max(std for std, _ in spreads.values()):.1e}"
        )
        return
    worst = (constant or wild)[0]
    yield Judgement(
        Status.WARN,
        f"the outputs of {worst} {'hardly vary' if constant else 'vary wildly'}: "
        f"their standard deviation is {spreads[worst][0]:.1e}",
        value=spreads[worst][0],
        threshold=smallest if constant else largest,
        where=Place.modules(*(constant + wild)[:SHOWN]),
        faults={},
        fix="look for a softmax over one unit, weights of equal value, or inputs that are not scaled",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"exploding_init": 0.2})
def poor_initialisation(subject: Subject, *, ratio: float = 1e3, size: float = 1e3) -> Iterator[Judgement]:
    """Look at the first step for layers whose outputs are on scales that differ by orders of magnitude.

    Measures: the largest standard deviation of the outputs of a linear or convolutional layer over the smallest.
    Warns when: it is above `ratio`, or the largest deviation is above `size`.
    Source: Amazon SageMaker Debugger, PoorWeightInitialization, whose bound of 10 for the variances torch's default
        initialisation exceeds in sound networks; these are wider, and a choice of ours.
    """
    spreads = {
        name: float(entry.std[0])
        for name, entry in subject.record.activations.items()
        if entry.kind in WEIGHTED
        and len(entry.std)
        and entry.std.steps[0] == 1
        and math.isfinite(entry.std[0])
        and entry.std[0] > 0
    }
    if len(spreads) < 2:
        yield skipped(
            _unseen(subject.record, "fewer than two linear or convolutional layers were seen in the first step")
        )
        return
    widest, narrowest = max(spreads, key=lambda name: spreads[name]), min(spreads, key=lambda name: spreads[name])
    value = spreads[widest] / spreads[narrowest]
    yield judge(
        value if spreads[widest] <= size else math.inf,
        above=ratio,
        otherwise=Status.WARN,
        where=Place.modules(widest if spreads[widest] > 10 else narrowest),
        message=f"in the first step the outputs of layers vary by {spreads[narrowest]:.1e} ({narrowest}) "
        f"to {spreads[widest]:.1e} ({widest})",
        fix="use the default or He initialisation, and standardised inputs",
    )
