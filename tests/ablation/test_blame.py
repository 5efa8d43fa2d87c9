"""Which fault a swap speaks for, by the rules of the order."""

from __future__ import annotations

import numpy as np
import pytest

from firstfault.ablation.confirm.blame import ORDER, Blame
from firstfault.ablation.confirm.rules import Rules
from firstfault.ablation.swap import swaps
from firstfault.finding import Finding, Layer, LayerReport, Status

LARGE = (np.random.default_rng(0).normal(size=(300, 8)) * 300.0).astype(np.float32), np.arange(300) % 3
SMALL_BATCHES = {"batch_size_too_small": 0.6}

CASES = {
    "proof_acquits": ("known_good_loop", None, "parameters_not_in_optimizer"),
    "searched_layers": ("clean_labels", None, "random_labels"),
    "suspected_first": ("batches_of_32", "batch_size_too_small", "batch_size_too_large"),
    "suspected_before": ("batches_of_32", "batch_size_too_small", "batch_size_too_large"),
    "symptoms_last": ("relu_for_saturating", "saturating_activation", "vanishing_gradient"),
    "nearest_layer_first": ("own_loader", "no_shuffle", "augmented_validation"),
    "sign_is_there": ("standardised_inputs", "missing_normalisation", "double_normalisation"),
}
"""By rule: a swap, the fault that it speaks for, and the one that it would speak for without the rule."""


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_of_the_order_decides_which_fault_a_swap_speaks_for(subject_of, rule):
    """The fault is another one without the rule, which therefore counts as having decided."""
    import firstfault.checks.training.loop_faults  # noqa: F401  its checks are registered

    swap, fault, other = CASES[rule]
    assert set(CASES) == set(ORDER)
    passed = Finding("parameters_not_in_optimizer", Layer.TRAINING, Status.PASS, "fine")
    report = LayerReport(Layer.TRAINING, (passed,), 0.0)
    suspects = SMALL_BATCHES if rule == "suspected_first" else {}
    earlier = SMALL_BATCHES if rule == "suspected_before" else {}
    subject = subject_of(data=LARGE)
    on, off = (Blame(subject, report, suspects, earlier, frozenset(), Rules(without)) for without in ((), (rule,)))
    assert (on.of(swaps()[swap]), off.of(swaps()[swap])) == (fault, other)
    assert rule in on.rules.decided and rule not in off.rules.decided
