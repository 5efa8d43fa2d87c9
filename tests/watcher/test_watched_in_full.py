"""What a watch passes over, or loses on the way to a sink, stands in the verdict."""

import pytest
import torch
from torch import nn

import firstfault
from firstfault.check import checks_of, run_check
from firstfault.finding import Layer, Status
from firstfault.watcher.actions.rules import rules_of_the_record


class Gone:
    """A sink whose store is gone."""

    def write(self, step, values):
        """Lose a step."""
        raise ConnectionError("nobody answers")

    def close(self):
        """Close nothing."""


def watched(folder, *, compiled=False, sinks=()):
    """A short training."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    run = torch.compile(model, backend="eager") if compiled else model
    optimizer, x = torch.optim.Adam(model.parameters(), 1e-2), torch.randn(32, 4)
    with firstfault.watch(folder=folder, sinks=sinks) as seen:
        for _ in range(25):
            optimizer.zero_grad()
            nn.functional.cross_entropy(run(x), (x[:, 0] > 0).long()).backward()
            optimizer.step()
    return seen


def found(seen, name):
    """What a check of the training found."""
    return run_check(next(entry for entry in checks_of(Layer.TRAINING) if entry.name == name), seen.subject, {})[0]


def test_nothing_was_lost(tmp_path):
    """A plain loop is watched in full."""
    assert found(watched(tmp_path), "watched_in_full").status is Status.PASS


def test_the_verdict_says_that_a_loop_was_watched(tmp_path):
    """What was judged is in its JSON: no target."""
    assert watched(tmp_path).verdict().to_json()["subject"] == "watched"


def test_a_sink_that_drops_steps_is_to_be_looked_at(tmp_path):
    """A warning without a fault, with the sink's name and reason."""
    said = found(watched(tmp_path, sinks=[Gone()]), "watched_in_full")
    assert (
        said.status is Status.WARN
        and not said.faults
        and "Gone: dropped" in said.message
        and "nobody answers" in said.message
    )


@pytest.mark.parametrize(
    "name", ["watched_in_full", "dying_relu", "saturated_activation", "tensor_variance", "poor_initialisation"]
)
def test_rules_on_the_inside_of_a_compiled_model_are_skipped_with_the_reason(name, tmp_path):
    """They had nothing to look at, because of torch.compile."""
    said = found(watched(tmp_path, compiled=True), name)
    assert said.status is Status.SKIPPED and "torch.compile" in said.message


def test_no_action_waits_for_it():
    """It is told at the end only."""
    assert "watched_in_full" not in {entry.name for entry in rules_of_the_record()}
