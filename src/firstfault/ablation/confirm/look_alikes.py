"""Which of two repairs undoes the cause, argued from what can be measured on the target (docs/faults.md, look-alikes).

question                                        decided by
inputs on a wild scale, or a step size?         the scales of the prepared inputs
a softmax too many, or a slow training?         whether the outputs' rows sum to one
units that can't learn, or a step size?         whether parameters stayed where they were though they were to be trained
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from firstfault.ablation.confirm.rules import Rules
from firstfault.finding import LayerReport
from firstfault.interrupts import pass_on
from firstfault.subject.subject import Subject
from firstfault.training.losses import are_distributions

WILD_RATIO, WILD_SIZE, TINY_SIZE = 100.0, 10.0, 0.01
"""A choice of ours: standardised inputs stay below 3 and alike, those of 0–255 or scaled twice do not."""
ROWS = 2_000
"""Bounds the time; of a single column, 20 values then lie above the size that 99 % stay below."""
PACE = frozenset(  # what makes a training as slow, or as wild, as a wrong step size
    {
        "learning_rate_too_high",
        "learning_rate_too_low",
        "too_few_epochs",
        "wrong_optimizer",
        "batch_size_too_large",
        "exploding_init",
        "saturating_activation",
        "dead_relu",
        "over_regularised",
    }
)


@dataclass(frozen=True)
class Question:
    """Two groups of look-alikes; `measure(subject)` gives a sentence, and whether the earlier group is the cause."""

    rule: str
    earlier: frozenset[str]
    later: frozenset[str]
    measure: Callable[[Subject], tuple[str, bool]]


def _scales(subject: Subject) -> tuple[str, bool]:
    """Deviations of columns 100 times apart, or values beyond ±10 or within ±0.01, are a scale that a network feels."""
    size, ratio = _size_and_ratio(subject)
    wild = ratio > WILD_RATIO or size > WILD_SIZE or size < TINY_SIZE
    return f"the prepared inputs reach {size:.3g}, with deviations up to {ratio:.3g} times apart", wild


def _size_and_ratio(subject: Subject) -> tuple[float, float]:
    """The size that 99 % of the inputs stay below, and how many times a column's deviation is another's."""
    x = subject.recipe.train.x[:ROWS]
    if not x.is_floating_point():
        return 1.0, 1.0  # token ids have no scale
    flat = torch.nan_to_num(x.double().flatten(1) if x.ndim > 1 else x.double()[:, None])
    deviation = flat.std(0)
    moving = deviation[deviation > 1e-12]
    ratio = float(moving.max() / moving.min()) if len(moving) and x.ndim == 2 else 1.0
    sizes = flat.abs().flatten()
    return float(sizes.kthvalue(max(1, int(0.99 * len(sizes)))).values) if len(sizes) else 0.0, ratio


def absent(subject: Subject) -> frozenset[str]:
    """Of the faults that one repair undoes, those whose sign is not there: inputs scaled twice are tiny."""
    try:
        size, _ = _size_and_ratio(subject)
    except BaseException as error:  # a target that can't be measured so
        pass_on(error)
        return frozenset()
    return frozenset({"missing_normalisation" if size < TINY_SIZE else "double_normalisation"})


def _rows_sum_to_one(subject: Subject) -> tuple[str, bool]:
    outputs = subject.outputs
    sums = outputs.ndim == 2 and are_distributions(outputs)
    return f"the rows of the model's outputs {'sum' if sums else 'do not sum'} to one", sums


def _still(subject: Subject) -> tuple[str, bool]:
    frozen = [name for name, value in subject.model.named_parameters() if not value.requires_grad]
    return (
        f"{len(frozen)} parameters, {frozen[0]} among them, can't move" if frozen else "every parameter can move"
    ), bool(frozen)


LOOK_ALIKES = (
    Question("wild_inputs", frozenset({"missing_normalisation", "double_normalisation"}), PACE, _scales),
    Question("outputs_sum_to_one", frozenset({"redundant_softmax"}), PACE, _rows_sum_to_one),
    Question("frozen_parts", frozenset({"frozen_parameters"}), PACE, _still),
)


def argue(subject: Subject, fault: str, repaired: Iterable[str], report: LayerReport) -> list[str]:
    """Why one fault stands and not another that can be repaired as well: a sentence for each pair of look-alikes."""
    others, sentences = set(repaired) - {fault}, []
    for question in LOOK_ALIKES:
        for mine, theirs in ((question.earlier, question.later), (question.later, question.earlier)):
            rivals = sorted(others & theirs)
            if fault in mine and rivals:
                sentences.append(_sentence(question, fault in question.earlier, subject, fault, rivals[0]))
    return [sentence for sentence in sentences if sentence] or _by_findings(fault, sorted(others), report)


def ruled_out(subject: Subject, faults: Iterable[str], rules: Rules) -> frozenset[str]:
    """The faults that the evidence rules out as the cause among those whose repairs help alike."""
    named = set(faults)
    out: set[str] = set()
    for question in LOOK_ALIKES:
        if rules.decides(question.rule, bool(named & question.earlier and named & question.later)):
            try:
                _, earlier = question.measure(subject)
            except BaseException as error:  # a target that can't be measured so
                pass_on(error)
                continue
            out |= named & (question.later if earlier else question.earlier)
    return frozenset(out)


def _sentence(question: Question, is_earlier: bool, subject: Subject, fault: str, rival: str) -> str:
    try:
        measured, earlier = question.measure(subject)
    except BaseException as error:  # a target that can't be measured so
        pass_on(error)
        return ""
    return (
        f"{fault} rather than {rival}, as {measured}"
        if earlier == is_earlier
        else f"{rival} repairs it too, and {measured}"
    )


def _by_findings(fault: str, others: list[str], report: LayerReport) -> list[str]:
    """Where nothing else decides: the finding that speaks for one, and for none of the others."""
    mine = [finding for finding in report.failures if fault in finding.faults and not set(others) & set(finding.faults)]
    return [f"{fault} rather than {others[0]}, as {mine[0].check} points to it alone"] if mine and others else []
