"""The score of an arm does not depend on its loss; and a run is compared with what was watched, part by part."""

import math
import random

import numpy as np
import pytest
import torch

from firstfault.probe.answers import VALIDATION
from firstfault.probe.interventions.catalogue import intervention
from firstfault.probe.record import Record
from firstfault.watcher.rerun.arm import Ending
from firstfault.watcher.rerun.comparing import compared, learnt_by_heart
from firstfault.watcher.rerun.scores import ALIKE, comparable, curves_apart, measure_of, unlike

STEPS = 100


def site(kind, row, labels):
    """A site at which every step had the same row."""
    return {"kind": kind, "steps": {str(step): row for step in range(1, STEPS + 1)}, "labels": labels}


def ending(*sites, **parts):
    """What a run of 100 steps came to."""
    return Ending(STEPS, sites={f"loss at {number}": one for number, one in enumerate(sites)}, **parts)


def curve(values):
    """A series over the steps."""
    return {"steps": list(range(1, len(values) + 1)), "values": list(values)}


@pytest.mark.parametrize(
    ("one", "metric", "value", "prior"),
    [
        (site("classes", [6.0, 8.0], {"0": 3, "1": 1}), "accuracy", 0.75, 0.75),
        (site("yes_no", [6.0, 8.0, 2, 1, 1], {"1": 4, "0": 4}), "accuracy", 0.75, 0.5),
        (site("yes_no", [90.0, 100.0, 4, 4, 2], {"1": 6, "0": 94}), "F1", 8 / 14, 0.12 / 1.06),
        (site("numbers", [1.0, 4.0, 10.0, 30.0], {}), "R²", 0.8, 0.0),
        (site("numbers", [math.nan, 4.0, 10.0, 30.0], {}), "R²", -1.0, 0.0),
    ],
)
def test_what_the_losses_were_given_is_the_score(one, metric, value, prior):
    """Of the last tenth of the steps, with the rows that it was taken over, and what a constant answer would have."""
    run = ending(one)
    measure = measure_of(run, keeps_loss=False)
    score = measure.score(run, STEPS)
    assert (measure.metric, score.rows) == (metric, int(one["steps"]["1"][1]) * 10)
    assert score.value == pytest.approx(value) and score.prior == pytest.approx(prior)


def test_a_run_that_broke_off_has_the_worst_score():
    """It lacks the steps that are judged."""
    whole, short = (ending(site("classes", [6.0, 8.0], {"0": 1, "1": 1})) for _ in range(2))
    measure = measure_of(whole, keeps_loss=False)
    for step in range(50, STEPS + 1):
        del short.sites["loss at 0"]["steps"][str(step)]
    assert measure.score(short, STEPS).value == 0.0


def test_a_change_that_eases_learning_is_scored_on_the_validation_alone():
    """The last one, which may come after the last step; without one nothing is to be said."""
    trained, judged = (site("classes", [6.0, 8.0], {"0": 1, "1": 1}) for _ in range(2))
    judged["steps"] = {"50": [1.0, 8.0], "101": [4.0, 8.0]}
    run = Ending(STEPS, sites={"loss at 1": trained, f"loss at 2{VALIDATION}": judged})
    measure = measure_of(run, keeps_loss=True, on_validation=True)
    assert measure.metric == "validation accuracy" and measure.score(run, STEPS).value == 0.5
    assert measure_of(ending(trained), keeps_loss=True, on_validation=True) is None


@pytest.mark.parametrize(("right", "loss", "by_heart"), [(4.0, 0.9, True), (8.0, 0.9, False), (4.0, 0.5, False)])
def test_what_is_learnt_by_heart_is_no_repair(right, loss, by_heart):
    """Where the script's own validation gains neither right answers nor a lower loss; one of both clears the gain."""

    def run(right, held, loss):
        trained, judged = (site("classes", [share, 8.0], {"0": 1, "1": 1}) for share in (right, held))
        sites = {"loss at 1": trained, f"loss at 2{VALIDATION}": judged}
        return Ending(STEPS, sites=sites, validation=curve([0.7] * (STEPS - 1) + [loss]))

    pairs = [(run(5.0, 4.0, 0.7), run(8.0, right, loss)) for _ in range(3)]
    measure = measure_of(pairs[0][0], keeps_loss=True)
    assert compared(measure, pairs, STEPS).better
    assert bool(learnt_by_heart(measure, pairs, STEPS)) is by_heart


def test_without_sites_a_loss_is_the_score():
    """The script's own validation first, then that of the training where the change leaves it alone."""
    run = ending(validation=curve([3.0, 2.0]), losses=curve([4.0] * 90 + [1.0] * 10))
    assert measure_of(run, keeps_loss=False).score(run, STEPS).value == -2.0
    bare = ending(losses=run.losses)
    assert measure_of(bare, keeps_loss=False) is None
    assert measure_of(bare, keeps_loss=True).score(bare, STEPS).value == -1.0
    assert comparable([-1.0, math.nan, -3.0]) == [-1.0, -6.0, -3.0]


def test_curves_of_two_seeds_are_alike_and_one_of_saved_weights_is_not():
    """Noise is no difference; a curve that begins at the end of the other is, though most of its parts agree."""
    draw = random.Random(0)
    one, other = ([(step, math.exp(-step / 20) + draw.gauss(0, 0.05)) for step in range(1, 101)] for _ in range(2))
    resumed = [(step, 0.02 + draw.gauss(0, 0.05)) for step in range(1, 101)]
    assert curves_apart(one, other, STEPS) < ALIKE < curves_apart(one, resumed, STEPS)


def test_curves_that_break_are_alike_where_both_do():
    """Both NaN from about the same step."""
    fine = [(step, 1.0) for step in range(1, 101)]
    broken, later = ([(step, math.nan if step > at else 1.0) for step in range(1, 101)] for at in (7, 14))
    assert curves_apart(broken, later, STEPS) <= ALIKE < curves_apart(fine, broken, STEPS)


@pytest.mark.parametrize(
    ("run", "crash", "said"),
    [
        (Ending(100, curve(np.linspace(2, 1, 100))), "", ""),
        (Ending(60, curve(np.linspace(2, 1.4, 60)), cut=True), "", ""),
        (Ending(60, curve(np.linspace(2, 1.4, 60))), "", "it made 60 steps, and 100 were watched"),
        (Ending(100, curve(np.linspace(2, 1, 100)), raised="OSError: no"), "", "it raised OSError: no"),
        (Ending(100, curve(np.linspace(2, 1, 100)), raised="OSError: no"), "OSError: no", ""),
        (Ending(100, curve(np.full(100, 5.0))), "", "away from it"),
    ],
)
def test_what_is_run_again_must_come_out_like_what_was_watched(run, crash, said):
    """As many steps, the same curve, and no exception but that which was watched."""
    record = Record(steps=100)
    for step, value in enumerate(np.linspace(2, 1, 100), 1):
        record.loss.add(step, float(value))
    assert unlike(record, run, crash).endswith(said) and bool(unlike(record, run, crash)) == bool(said)


def test_what_acts_is_scored_by_what_it_gains():
    """The mean of the last returns, whatever its losses; a reward that never changes tells nothing."""
    acts = Ending(STEPS, rewards=curve(np.linspace(0, 50, STEPS)))
    measure = measure_of(acts, keeps_loss=False)
    assert measure.metric == "return" and measure.score(acts, STEPS).value > 45
    assert measure_of(Ending(STEPS, rewards=curve(np.ones(STEPS))), keeps_loss=False) is None


def test_a_setting_is_told_where_it_has_one_value():
    """Two optimizers of different rates have no rate of which one line could be changed."""
    for rates, sets in (((3.0,), {"lr": pytest.approx(0.3)}), ((3.0, 1.0), {})):
        with intervention("tenth_rate").install() as done:
            for rate in rates:
                weight = torch.nn.Parameter(torch.ones(2))
                optimizer = torch.optim.SGD([weight], rate)
                weight.sum().backward()
                optimizer.step()
        assert done.sets == sets
