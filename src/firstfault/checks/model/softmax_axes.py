"""Does each softmax run over the axis that its result is used over?

The classes of the loss, or the positions that attention sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from firstfault.check import Judgement, check, passed, skipped
from firstfault.checks.model._softmax_flow import Softmax, softmaxes
from firstfault.finding import Layer, Status
from firstfault.subject.loss_call import loss_call
from firstfault.subject.model_inputs import sound_batch, sound_outputs
from firstfault.subject.subject import Subject
from firstfault.training.losses import OF_CLASSES


@check(layer=Layer.MODEL, needs={"batch", "labels", "outputs"}, detects={"softmax_wrong_axis": 0.97})
def classes_normalised(subject: Subject, *, tolerance: float = 1e-3) -> Iterator[Judgement]:
    """Find a softmax into the loss that runs over another axis than the classes, such as the positions of `(N, T, K)`.

    Measures: the mean sum of a sample's probabilities over the classes, which is to be 1.
    Fails when: any sum is further from 1 than `tolerance`, and a softmax is the last step before the loss.
    Not a fault when: the softmax runs over the batch, which batch_mixing sees.
    Source: torch.nn.CrossEntropyLoss and NLLLoss: the classes are axis 1. The tolerance lies above the rounding of
        float32 numbers.
    """
    call = loss_call(subject)
    given = call.input
    if call.name not in OF_CLASSES or given is None or given.ndim < 2 or given.shape[1] < 2:
        yield skipped("the loss is not known to take one number per class")
        return
    own = subject.recipe.training.fit is not None
    last = _giving(softmaxes(subject), sound_outputs(subject) if own else given) if call.direct or not own else None
    if last is None or last.axis == 0:
        yield passed("no softmax is the last step before the loss, or it runs over the samples")
        return
    sums = (given.exp() if last.call.name == "log_softmax" else given).sum(1)
    value = float(sums.mean())
    if torch.allclose(sums, torch.ones_like(sums), atol=tolerance):
        yield passed("softmax runs over the classes", value=value)
        return
    yield Judgement(
        Status.FAIL,
        f"{last.call.name} runs over axis {last.axis} of {last.shape}, and not over the classes: "
        f"the probabilities of the {given.shape[1]} classes sum to {value:.2g} on average",
        value=value,
        threshold=1.0,
        where=last.call.place,
        fix="run softmax over the classes: dim=-1 for outputs (N, T, K), dim=1 for (N, K, T)",
    )


def _giving(found: list[Softmax], given: torch.Tensor) -> Softmax | None:
    """The last softmax, if its result, in whatever order of axes, is what the loss gets."""
    if not found or found[-1].call.result.numel() != given.numel():
        return None
    result = found[-1].call.result.detach()
    return found[-1] if torch.equal(result.flatten().sort().values, given.flatten().sort().values) else None


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"softmax_wrong_axis": 0.95})
def weights_of_keys(subject: Subject) -> Iterator[Judgement]:
    """Find attention whose weights sum to 1 over another axis than the one that is summed, such as queries or heads.

    Measures: the number of softmax calls on scores of positions by positions, `(…, T, T)`, that go into a product with
        the values as they are, and run over another axis than the product sums.
    Fails when: there is one.
    Not a fault when: weights are divided by their sum afterwards, as in slot attention.
    Source: Vaswani et al. 2017, 3.2.1: the weights of a query over its keys sum to 1.
    """
    attending = [softmax for softmax in softmaxes(subject) if softmax.summed is not None and _by_position(softmax)]
    if not attending:
        yield skipped("no softmax weighs positions by positions")
        return
    wrong = [softmax for softmax in attending if softmax.axis not in (0, softmax.summed)]
    if not wrong:
        yield passed(f"{len(attending)} softmax calls run over the positions that are summed", value=0)
        return
    first = wrong[0]
    yield Judgement(
        Status.FAIL,
        f"in {len(wrong)} of {len(attending)} calls softmax of scores {first.shape} runs over axis {first.axis}, "
        f"but the weighted values are summed over axis {first.summed}: the weights of a query do not sum to 1",
        value=len(wrong),
        threshold=0,
        where=first.call.place,
        fix="run softmax over the keys: softmax(scores, dim=-1)",
    )


def _by_position(softmax: Softmax) -> bool:
    return softmax.call.name == "softmax" and len(softmax.shape) > 2 and softmax.shape[-1] == softmax.shape[-2] > 2


@check(layer=Layer.MODEL, needs={"batch", "outputs"}, detects={"softmax_wrong_axis": 0.9})
def weights_always_one(subject: Subject) -> Iterator[Judgement]:
    """Find weights of positions that are always 1, since their softmax runs over an axis of size 1.

    Measures: the number of softmax calls over such an axis, of scores of which a sample has several: `(N, T, 1)`, or
        `(N × T, 1)`.
    Fails when: there is one.
    Not a fault when: a sample has one score, as in a sequence of one step; or the product that follows sums over that
        axis, as attention to one key.
    Source: Bahdanau et al. 2015, 3.1: the weights of all positions sum to 1.
    """
    size = len(sound_batch(subject))
    found = [softmax for softmax in softmaxes(subject) if _over_one(softmax, size)]
    if not found:
        yield passed("no softmax of several scores runs over an axis of size 1")
        return
    first = found[0]
    yield Judgement(
        Status.FAIL,
        f"softmax of scores {first.shape} runs over axis {first.axis}, of size 1, in {len(found)} calls: every weight "
        "is 1, and no gradient reaches what the scores are made of",
        value=len(found),
        threshold=0,
        where=first.call.place,
        fix="run softmax over the positions: dim=1 for scores (N, T, 1)",
    )


def _over_one(softmax: Softmax, samples: int) -> bool:
    """Whether a sample has several scores, each of which is normalised by itself."""
    return softmax.shape[softmax.axis] == 1 and softmax.summed != softmax.axis and math.prod(softmax.shape) > samples
