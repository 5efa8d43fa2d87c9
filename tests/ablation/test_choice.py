"""Which of the repairs stand, by the rules of the choice: the numbers of trials are given, the target is real."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from firstfault.ablation.compare import compare
from firstfault.ablation.confirm.budget import Budget
from firstfault.ablation.confirm.choice import Choice
from firstfault.ablation.confirm.health import Health
from firstfault.ablation.confirm.paired_trials import Tested, Tester
from firstfault.ablation.confirm.rules import Rules
from firstfault.ablation.confirm.trials import Bench
from firstfault.ablation.swap import swaps_for
from firstfault.finding import Layer

UNCHANGED = [0.40, 0.41, 0.42]


def trial(fault, after):
    """A trial of the fault's first swap that reaches `after` over three seeds."""
    result = compare(UNCHANGED, [after - 0.01, after, after + 0.01], "accuracy")
    return Tested(fault, swaps_for(fault)[0], "accuracy", result, result.better)


def frozen():
    """A network whose first layer can't move."""
    network = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    network[0].requires_grad_(False)
    return network


CASES = {
    "best_gain": ({}, {"learning_rate_too_low": 0.9, "wrong_loss": 0.6}, (), {"learning_rate_too_low"}),
    "most_suspected": ({}, {"wrong_loss": 0.9, "no_shuffle": 0.9}, (), {"wrong_loss"}),
    "proof_stands": ({}, {"wrong_loss": 0.6, "no_shuffle": 0.9}, ("wrong_loss",), {"wrong_loss", "no_shuffle"}),
    "optimizer_last": ({}, {"learning_rate_too_low": 0.975, "wrong_optimizer": 0.999}, (), {"learning_rate_too_low"}),
    "outputs_sum_to_one": (
        {"model": lambda: nn.Sequential(nn.Linear(8, 3), nn.Softmax(1))},
        {"redundant_softmax": 0.9, "learning_rate_too_low": 0.9},
        (),
        {"redundant_softmax"},
    ),
    "frozen_parts": (
        {"model": frozen},
        {"frozen_parameters": 0.9, "learning_rate_too_low": 0.9},
        (),
        {"frozen_parameters"},
    ),
}
"""By rule: settings of the target, the score that each repair reaches, what is proven, and what stands."""
SUSPECTS = {"wrong_loss": 0.7, "learning_rate_too_low": 0.6, "redundant_softmax": 0.6, "frozen_parameters": 0.6}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_of_the_choice_decides_what_stands(subject_of, rule):
    """Something else stands without the rule, which therefore counts as having decided."""
    settings, reached, proven, expected = CASES[rule]
    subject = subject_of(optimizer=partial(torch.optim.SGD, lr=1e-3), epochs=1, **settings)
    stands = {}
    for without in ((), (rule,)):
        rules = Rules(without)
        tester = Tester(Bench(subject, 3), Layer.TRAINING, Budget(30.0), rules)
        choice = Choice(SUSPECTS, frozenset(proven), Health(subject, tester), rules)
        standing = choice.standing([trial(fault, after) for fault, after in reached.items()])
        stands[without] = {entry.fault for entry in standing}
        assert (rule in rules.decided) is not bool(without)
    assert stands[()] == expected != stands[(rule,)]
