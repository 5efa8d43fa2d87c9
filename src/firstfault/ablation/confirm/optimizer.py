"""The optimizer is blamed last: Adam at its usual rate repairs whatever is wrong with the pace of a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from firstfault.ablation.confirm.health import Health
from firstfault.ablation.confirm.paired_trials import Tested
from firstfault.ablation.confirm.rules import Rules
from firstfault.interrupts import pass_on
from firstfault.subject.subject import Subject

OPTIMIZER = "wrong_optimizer"
FIRST_STEP_SIZES = ("usual_rate_from_below", "usual_rate_from_above", "adam")
"""The swaps that a set takes for the step size where none was found to help, the first of them that can be made."""


def spared_optimizer(subject: Subject, rules: Rules) -> dict[str, str]:
    """The optimizer with the reason, where Adam would only repair its learning rate; else nothing."""
    from firstfault.ablation.swaps.training import rate_to_blame

    try:
        reason = rate_to_blame(subject)
    except BaseException as error:  # a `fit` that can't be replayed, an optimizer that wants other parameters
        pass_on(error)
        return {}
    return {OPTIMIZER: reason} if rules.decides("rate_before_optimizer", bool(reason)) else {}


def refuted_optimizer(
    tested: Iterable[Tested], suspects: Mapping[str, float], health: Health, rules: Rules
) -> frozenset[str]:
    """The optimizer, where the repair of a stronger suspect restores health."""
    least = suspects.get(OPTIMIZER, 0.0)
    cured = any(
        entry.repaired and suspects.get(entry.fault, 0.0) > least and health.restored(entry, unknown=False)
        for entry in tested
    )
    return frozenset({OPTIMIZER}) if rules.decides("optimizer_last", cured) else frozenset()
