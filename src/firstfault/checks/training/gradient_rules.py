"""What gradients and updates tell, layer by layer: too small, too large, none at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.training._beside_the_loss import gains
from firstfault.checks.training._record_summary import learns, pushed
from firstfault.finding import Layer, Status
from firstfault.place import SHOWN, Place
from firstfault.probe.record import Record
from firstfault.subject.subject import Subject

WARM_UP = 5  # sampled steps that say more of the initialisation than of the training
NOT_FINITE = "the training did not stay finite, see nonfinite_loss"


def settled(values: Any) -> np.ndarray[Any, Any]:
    """The finite values of a series after its first five, or all of them where they are few."""
    found = np.asarray(values.values if hasattr(values, "values") else values, float)
    later = found[WARM_UP:] if len(found) >= 2 * WARM_UP else found
    return later[np.isfinite(later)]


def middle(values: Any) -> float:
    """The median of the settled values; NaN without any."""
    later = settled(values)
    return float(np.median(later)) if len(later) else math.nan


@check(layer=Layer.TRAINING, needs={"record"}, detects={"vanishing_gradient": 0.3})
def vanishing_gradient(subject: Subject, *, smallest: float = 1e-7, share: float = 1e-3) -> Iterator[Judgement]:
    """Find weights whose gradient is next to nothing while other weights of the model get one.

    Measures: the root mean square gradient of the weight with the smallest, median over the sampled steps.
    Fails when: it is below `smallest` and below `share` of the largest of the model, and the training learns nothing,
        or that is so for half of the weights.
    Warns when: it is below both.
    Not a fault when: all are small, as where a training has converged; or it is a bias: one before a normalisation
        rightly gets none.
    Source: Amazon SageMaker Debugger, VanishingGradient (1e-7); `share` is a choice of ours.
    """
    record = subject.record
    if record.first_nonfinite is not None:
        yield skipped(NOT_FINITE)
        return
    sizes = {
        name: middle(entry.gradient) / math.sqrt(entry.size)
        for name, entry in record.parameters.items()
        if not name.endswith("bias") and len(settled(entry.gradient))
    }
    if len(sizes) < 2:
        yield skipped("fewer than two weights with a gradient were seen")
        return
    largest, names = max(sizes.values()), sorted(sizes, key=lambda name: sizes[name])
    gone = [name for name in names if sizes[name] < smallest and sizes[name] < share * largest]
    text = f"the smallest gradient of a weight is {sizes[names[0]]:.1e}, the largest {largest:.1e} (root mean square)"
    if not gone:
        yield passed(text, value=sizes[names[0]])
        return
    stuck = not learns(record) or len(gone) >= len(sizes) / 2
    yield Judgement(
        Status.FAIL if stuck else Status.WARN,
        f"{len(gone)} of {len(sizes)} weights get next to no gradient: {text}",
        value=sizes[names[0]],
        threshold=smallest,
        where=Place.parameters(*gone[:SHOWN]),
        faults={"vanishing_gradient": 0.5 if stuck else 0.3},
        fix="use ReLU and normalisation, or residual connections; look for a detach",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"exploding_gradient": 0.4})
def exploding_gradient(subject: Subject, *, growth: float = 1e3, least: int = 8) -> Iterator[Judgement]:
    """Find gradients that grow by orders of magnitude and stay there.

    Measures: the median gradient norm of the last quarter of the sampled steps over that of the first five; of at least
        `least` steps.
    Fails when: the ratio is above `growth`, and the loss ends above twice its start.
    Warns when: the ratio is above `growth`.
    Not a fault when: single steps spike: in 6 of 6 sound deep networks some were more than 10 times the trailing
        median.
    Source: Amazon SageMaker Debugger, ExplodingTensor; Pascanu et al. 2013. In 40 sound programs of
        benchmarks/localise.py the ratio is at most 4.
    """
    record = subject.record
    if record.first_nonfinite is not None:
        yield skipped(NOT_FINITE)
        return
    norms = np.asarray(record.grad_norm.values, float)
    norms = norms[np.isfinite(norms)]
    if len(norms) < least:
        yield skipped(f"the gradient was sampled in fewer than {least} steps")
        return
    start, end = float(np.median(norms[:WARM_UP])), float(np.median(norms[-max(2, len(norms) // 4) :]))
    first, last = record.loss_ends()
    worse = last > abs(first) * 2 and not gains(record)
    yield judge(
        end / max(start, 1e-6),
        above=growth,
        otherwise=Status.FAIL if worse else Status.WARN,
        message=f"the gradient norm went from {start:.2g} to {end:.2g}",
        faults={"exploding_gradient": 0.5, "learning_rate_too_high": 0.5} if worse else None,
        fix="lower the learning rate, or clip gradients",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"learning_rate_too_high": 0.4, "learning_rate_too_low": 0.4})
def weight_update_ratio(subject: Subject, *, smallest: float = 1e-5, largest: float = 0.1) -> Iterator[Judgement]:
    """Look at the size of updates relative to the weights.

    Measures: the norm of an update over that of its weight, median over parameters, then over the steps after the first
        five.
    Fails when: it is below `smallest`, as is the highest learning rate, and the training learns nothing.
    Warns when: it is below `smallest` or above `largest`.
    Not a fault when: the first ten were larger than `smallest`: the training has converged.
    Source: Amazon SageMaker Debugger, WeightUpdateRatio; Karpathy 2019 (about 1e-3), a hundred times to either side; 40
        sound programs of benchmarks/localise.py lie at 2e-3 to 3e-2.
    """
    record = subject.record
    if record.first_nonfinite is not None:
        yield skipped(NOT_FINITE)
        return
    ratios = settled(record.update_ratio)
    if len(ratios) < 3 or not pushed(record):
        yield skipped("updates were seen in fewer than 3 sampled steps, or every gradient is zero")
        return
    value = float(np.median(ratios))
    text = f"an update changes a weight by {value:.1e} of its size"
    if smallest <= value <= largest or (value < smallest <= float(np.median(ratios[: 2 * WARM_UP]))):
        yield passed(text, value=value)
        return
    fault, bound = ("learning_rate_too_high", largest) if value > largest else ("learning_rate_too_low", smallest)
    stuck = value < smallest and max(record.lr.values, default=1.0) < smallest and not learns(record)
    yield Judgement(
        Status.FAIL if stuck else Status.WARN,
        text,
        value=value,
        threshold=bound,
        faults={fault: 0.7 if stuck else 0.4},
        fix=f"{'divide' if value > largest else 'multiply'} the learning rate by 10",
    )


@check(
    layer=Layer.TRAINING,
    needs={"record"},
    detects={"frozen_parameters": 0.3, "detached_graph": 0.7, "gradient_clipped_away": 0.95},
)
def unchanged_tensor(subject: Subject, *, rtol: float = 1e-7, least: int = 3) -> Iterator[Judgement]:
    """Find parameters that an optimizer holds, and that end as they began.

    Measures: the number of parameters that moved by no more than `rtol` of their size in at least `least` steps. Biases
        count only where nothing moved, as one before a normalisation rightly stays.
    Fails when: nothing moved at all: the training did not happen, and what the steps show tells why; or nothing of one
        of several models did, and no gradient ever reached it; or `least` of the first steps found no gradient, though
        a backward pass had given some.
    Warns when: some of them stayed, which may be frozen on purpose.
    Source: Amazon SageMaker Debugger, UnchangedTensor (3 steps); `rtol` is the rounding of float32.
    """
    record = subject.record
    if record.first_nonfinite is not None:
        yield skipped(NOT_FINITE)
        return
    if record.emptied_steps >= least:
        yield Judgement(
            Status.FAIL,
            "the gradients of every backward pass are cleared before the step that was to use them",
            value=record.emptied_steps,
            threshold=0,
            where=Place.part("training loop"),
            faults={"gradient_clipped_away": 0.95},
            fix="call optimizer.zero_grad() before loss.backward(), or after optimizer.step()",
        )
        return
    held = [name for name, inside in record.in_optimizer.items() if inside and name in record.moved]
    if record.steps < least or not held:
        yield skipped(f"fewer than {least} steps, or no parameter of an optimizer, were seen")
        return
    still = [name for name in held if record.moved[name] <= rtol]
    nothing = len(still) == len(held)
    cut = [] if nothing else _cut_off(record, held, still)
    if cut:
        yield Judgement(
            Status.FAIL,
            f"no gradient reached {record.model_of(cut[0]) or record.models[0]} in {record.steps} steps, "
            "though an optimizer holds it",
            value=len(cut),
            threshold=0,
            where=Place.parameters(*cut[:SHOWN]),
            faults={"detached_graph": 0.7},
            fix="remove the detach, .data or no_grad between this model and the loss",
        )
        return
    still = still if nothing else [name for name in still if not name.endswith("bias")]
    if not still:
        yield passed(f"the weights among {len(held)} parameters moved", value=0)
        return
    yield Judgement(
        Status.FAIL if nothing else Status.WARN,
        f"{len(still)} of {len(held)} parameters end as they began after {record.steps} steps",
        value=len(still),
        threshold=0,
        where=Place.parameters(*still[:SHOWN]),
        faults=_why_nothing_moved(record) if nothing else {"frozen_parameters": 0.3},
        fix="look at requires_grad, the learning rate and the optimizer's parameters",
    )


def _cut_off(record: Record, held: list[str], still: list[str]) -> list[str]:
    """The parameters of one of several models, where none of them moved, or was seen with a gradient, be it zero."""
    kept = {record.model_of(name) for name in held if name not in still or name in record.parameters}
    return [name for name in still if record.model_of(name) not in kept]


def _why_nothing_moved(record: Record) -> dict[str, float]:
    learnt = [name for name, had in record.had_gradient.items() if had]
    if learnt and not any(
        record.in_optimizer.get(name) for name in learnt
    ):  # they are of another instance of the model
        return {"parameters_not_in_optimizer": 0.95}
    if max(record.lr.values, default=0.0) < 1e-8:
        return {"learning_rate_too_low": 0.7}
    if not any(record.had_gradient.values()):
        if any(len(entry.gradient) for entry in record.parameters.values()):  # it was there, and zero
            return {"vanishing_gradient": 0.5}
        return {"frozen_parameters": 0.5, "detached_graph": 0.5}
    return {"gradient_clipped_away": 0.5, "learning_rate_too_low": 0.5}


@check(layer=Layer.TRAINING, needs={"record"}, detects={"vanishing_gradient": 0.3, "frozen_parameters": 0.2})
def all_zero(subject: Subject, *, share: float = 0.9, least: int = 4) -> Iterator[Judgement]:
    """Find gradients, and outputs of modules, that are nothing but zeros on nearly all sampled steps.

    Measures: the number of gradients and outputs of which all values are zero on at least `share` of the sampled steps;
        `least` steps have to have been sampled.
    Fails when: every gradient is among them: nothing can be learnt.
    Warns when: there is one.
    Not a fault when: it is the output of a ReLU, which `dying_relu` judges.
    Source: Amazon SageMaker Debugger, AllZero (100 % of the values); `share` and `least` are a choice of ours.
    """
    record = subject.record
    if record.first_nonfinite is not None:
        yield skipped(NOT_FINITE)
        return
    if len(record.grad_norm) < least:
        yield skipped(f"gradients were sampled in fewer than {least} steps")
        return
    dead = [
        name
        for name, entry in record.parameters.items()
        if _share(entry.gradient, 0.0) >= share and len(entry.gradient) >= least
    ]
    silent = [
        name
        for name, entry in record.activations.items()
        if entry.kind not in ("ReLU", "ReLU6") and _share(entry.zero, 1.0) >= share and len(entry.zero) >= least
    ]
    if dead and len(dead) == len(record.parameters):
        yield Judgement(
            Status.FAIL,
            "every gradient is zero",
            value=len(dead),
            threshold=0,
            where=Place.parameters(dead[0]),
            faults={"vanishing_gradient": 0.5, "detached_graph": 0.3, "gradient_clipped_away": 0.4},
            fix="look for what has no slope: an argmax, a rounding, a clamp",
        )
        return
    yield judge(
        len(dead) + len(silent),
        above=0,
        otherwise=Status.WARN,
        where=Place.parameters(*dead[:SHOWN]) if dead else Place.modules(*silent[:SHOWN]),
        message=f"{len(dead)} gradients and {len(silent)} outputs are all zero on {share:.0%} of the sampled steps",
        fix="look for dead units, or parts that the loss does not depend on",
    )


def _share(series: Any, value: float) -> float:
    return float(np.mean(np.asarray(series.values, float) == value)) if len(series) else 0.0
