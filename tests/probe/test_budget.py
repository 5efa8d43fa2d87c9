"""What a watch may cost: which steps are sampled and timed, and what plain steps still see."""

import math

import pytest
import torch
from torch import nn

import firstfault
from firstfault.probe.budget import ALLOWANCE, SHARE, Budget
from firstfault.probe.sampling_schedule import Pace, timed

STEPS = 2_000


def sampled(plain, dear, steps=STEPS):
    """The steps that are sampled where a plain one takes so many seconds, and a sampled one so many more."""
    now = 0.0
    budget = Budget(lambda: now)
    pace, found = Pace(budget=budget), []
    for step in range(1, steps + 1):
        if pace.samples(step):
            found.append(step)
            budget.begins()
            now += plain + dear
            budget.ends(step)
        else:
            now += plain
    return found


def test_sampled_steps_that_cost_little_keep_to_their_steps():
    """A sampled step that costs a tenth more is taken as often as it is due."""
    assert sampled(0.010, 0.001) == [step for step in range(1, STEPS + 1) if Pace().samples(step)]


@pytest.mark.parametrize(("plain", "dear"), [(0.0005, 0.005), (0.001, 0.002), (0.05, 0.05)])
def test_dear_ones_grow_sparser_and_leave_no_stretch_unseen(plain, dear):
    """From step 200 on the budget is kept, but for those due because the steps have grown by half."""
    found = sampled(plain, dear)
    assert found[:16] == sampled(1.0, 0.0, 200)
    of_right = sum(later >= 1.5 * earlier for earlier, later in zip(found, found[1:], strict=False) if later > 200) + 16
    assert len(found) * dear <= max(of_right * dear, ALLOWANCE + SHARE * (STEPS * plain + len(found) * dear))
    assert all(later < 1.5 * earlier + 50 for earlier, later in zip(found[5:], found[6:], strict=False))


def test_a_fixed_distance_has_no_budget():
    """Who sets `every` gets it."""
    now = iter(range(10**6))
    pace = Pace(10, Budget(lambda: float(next(now))))
    assert [step for step in range(1, 41) if pace.samples(step)] == [1, 2, 3, 4, 5, 10, 20, 30, 40]


def test_timed_steps_stand_for_all_in_any_rhythm():
    """Of a loop that validates every 70 steps, or every 64, its share of these steps is timed."""
    for rhythm in (1, 7, 64, 70):
        steps = range(rhythm, 50_000, rhythm)
        assert math.isclose(sum(map(timed, steps)), len(steps), rel_tol=0.15)


class Root(nn.Module):
    """The root of a weight: its slope at 0 is infinite, and NaN where nothing comes of it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x + 0 * self.weight.sqrt()


@pytest.mark.parametrize(
    ("optimizer", "kind", "told"),
    [
        (torch.optim.Adam, "weight", "1.weight, by the update"),
        (torch.optim.SGD, "gradient", "1.weight, in the backward pass"),
    ],
)
def test_a_gradient_that_spoils_no_other_is_told_by_its_weight(tmp_path, optimizer, kind, told):
    """A NaN of a plain step that misses the first layer is told by what Adam keeps; SGD keeps nothing: at once."""
    model = nn.Sequential(nn.Linear(4, 3), Root())
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    optimizer = optimizer(model.parameters(), lr=1e-3)
    with firstfault.watch(folder=tmp_path) as watched:
        for step in range(1, 15):
            if step == 12:
                model[1].weight.data.zero_()
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    *found, place = watched.record.first_nonfinite
    assert [*found, str(place)] == [12, kind, told]
