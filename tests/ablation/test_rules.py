"""The rules of a confirmation are one list, which the code asks by their ids, and of which each can be left out."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch

from firstfault.ablation.confirm import rules as rules_module
from firstfault.ablation.confirm.confirm import confirm
from firstfault.ablation.confirm.earned import EARNED, HELD_BY, reference
from firstfault.ablation.confirm.rules import RULES, Rules, Stage
from firstfault.ablation.swap import swaps
from firstfault.finding import Layer

ROOT = Path(__file__).parents[2]
ROOM = Path(rules_module.__file__).parent
SOURCES = {file.name: file.read_text() for file in ROOM.glob("*.py")}


def test_every_rule_is_asked_and_every_question_is_a_rule():
    """An id of the list is a text in the code of the room, and whatever is asked by `decides` is in the list."""
    others = "\n".join(text for name, text in SOURCES.items() if name not in ("rules.py", "earned.py"))
    known = [rule.id for rule in RULES]
    assert len(set(known)) == len(known)
    assert [name for name in known if f'"{name}"' not in others] == []
    assert set(re.findall(r'decides\(\s*"(\w+)"', others)) <= set(known)


def test_the_list_is_in_the_order_of_its_questions():
    """The rules of one question stand together, in the order in which a confirmation comes to the questions."""
    assert [rule.stage for rule in RULES] == sorted((rule.stage for rule in RULES), key=list(Stage).index)


def test_the_page_of_the_rules_is_what_the_code_says():
    """docs/confirmation.md is up to date (`make docs` writes it), and names only rules and tests that exist."""
    assert (ROOT / "docs" / "confirmation.md").read_text() == reference()
    assert {*EARNED, *HELD_BY} <= {rule.id for rule in RULES}
    assert all((Path(__file__).parent / f"{name}.py").exists() for name in HELD_BY.values())


def test_a_rule_that_nobody_knows_is_refused_with_those_that_are():
    """The sentence names all ids."""
    with pytest.raises(ValueError, match=r"must be one of .*sound_target.*, but got 'no_such_rule'"):
        Rules(["no_such_rule"])


def test_a_rule_that_is_left_out_decides_nothing():
    """What it costs to look is not spent either; with the rule on, what it decided is counted."""
    off, on = Rules(["cured"]), Rules()
    assert not off.decides("cured", pytest.fail) and not off.decided
    assert on.decides("cured", lambda: True) and not on.decides("cured", False) and on.decided == {"cured": 1}


def test_a_rule_matters_where_something_else_would_come_out():
    """One that is asked, and changes nothing, does not count."""
    rules = Rules()
    assert rules.matters(["cured", "surplus"], lambda some: some.decides("cured")) and rules.decided == {"cured": 1}


def test_leaving_a_rule_out_changes_what_is_confirmed(subject_of, suspect):
    """Of two equal repairs the less suspected one stands too, where neither rule that tells them apart is on."""
    outcomes = {}
    for without in ((), ("most_suspected", "optimizer_last", "best_gain")):
        rules = Rules(without)
        subject = subject_of(optimizer=partial(torch.optim.SGD, lr=1e-3), epochs=12, folder=f"run {len(without)}")
        report = suspect({"learning_rate_too_low": 0.7, "wrong_optimizer": 0.4})
        found = confirm(subject, report, rules=rules, budget_seconds=60.0)
        outcomes[without] = {outcome.fault for outcome in found if outcome.confirmed}
        assert not set(without) & set(rules.decided)
    assert list(outcomes.values()) == [{"learning_rate_too_low"}, {"learning_rate_too_low", "wrong_optimizer"}]


@pytest.mark.parametrize(
    ("faults", "layer"), [({"duplicate_rows": 0.7}, Layer.DATA), ({"nonreproducible": 0.95}, Layer.TRAINING)]
)
def test_what_no_swap_undoes_and_no_search_follows_from_trains_nothing(subject_of, suspect, faults, layer):
    """Copies of rows, or a training that comes out differently, are not sought among swaps that raise the score."""
    trials = []
    outcomes = confirm(subject_of(lr=1e-5), suspect(faults, layer), on_trial=trials.append)
    assert not trials and [(outcome.confirmed, outcome.reason) for outcome in outcomes] == [(None, "no swap undoes it")]


RATES = {
    "lower_rate": 1e-3,
    "much_lower_rate": 1e-4,
    "far_lower_rate": 1e-5,
    "usual_rate_from_above": 1e-3,
    "higher_rate": 1e-1,
    "much_higher_rate": 1.0,
}


@pytest.mark.parametrize("name", RATES)
def test_every_group_of_the_optimizer_gets_the_rate_of_the_swap(subject_of, name):
    """The swaps of a learning rate are one table; each changes all groups, and nothing else of them."""

    def two_groups(parameters):
        first, *rest = parameters
        return torch.optim.Adam([{"params": [first], "weight_decay": 0.1}, {"params": rest}], lr=1e-2)

    recipe = swaps()[name].apply(subject_of(optimizer=two_groups))
    groups = recipe.training.optimizer(recipe.model().parameters()).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([RATES[name]] * 2)
    assert [group["weight_decay"] for group in groups] == [0.1, 0]
