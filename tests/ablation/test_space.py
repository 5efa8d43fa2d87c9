"""What grids and searches vary: how it is written, what a target has of it, and the recipes it makes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from torch import nn

from firstfault.ablation.sweeps.space import Space, parse, words
from firstfault.errors import TargetError


def sized(hidden=16, dropout=0.0):
    return nn.Sequential(nn.Linear(8, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 3))


def test_values_are_read_in_one_text_or_several():
    """Numbers with or without exponent, truth values, null; the prefixes that --set has may be left out or not."""
    one = parse("lr=1e-3,0.01; training.batch_size=16,64 ;shuffle=true,false;clip_norm=null,1", "grid")
    several = parse(["optimizer.lr=1e-3,0.01", "batch_size=16,64", "shuffle=true,false;clip_norm=null,1"], "grid")
    assert one == several
    assert [setting.values for setting in one] == [(0.001, 0.01), (16, 64), (True, False), (None, 1)]


@pytest.mark.parametrize(
    ("text", "option", "expected"),
    [
        ("", "grid", "grid must be NAME=VALUE,VALUE, but is empty"),
        ("lr", "grid", "grid must be NAME=VALUE,VALUE, but got 'lr'"),
        ("lr=", "tune", "tune must be NAME=VALUE,VALUE or NAME=LOW..HIGH, but got 'lr='"),
        ("lr=1,,2", "grid", "but got 'lr=1,,2'"),
        ("lr=1;lr=2", "grid", "grid must name each setting once, but has lr twice"),
        ("lr=0.1..1", "grid", "grid must list values, but got the range 'lr=0.1..1'"),
        ("lr=1..0.1", "tune", "with LOW below HIGH, but got 'lr=1..0.1'"),
        ("lr=a..b", "tune", "a range LOW..HIGH of numbers"),
        ("lr=0.1", "tune", "tune must give lr a range LOW..HIGH or several values"),
        (
            "a=" + ",".join(map(str, range(40))) + ";b=" + ",".join(map(str, range(40))),
            "grid",
            "at most 1000 points, but has 1600",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, option, expected):
    """It names the part and what was expected."""
    with pytest.raises(TargetError) as refused:
        parse(text, option)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr=1e-4..1e-1", FloatDistribution(1e-4, 1e-1, log=True)),
        ("weight_decay=0..0.1", FloatDistribution(0, 0.1)),
        ("batch_size=16..64", IntDistribution(16, 64)),
        ("model.hidden=4..64", IntDistribution(4, 64, log=True)),
        ("model.dropout=0..1", FloatDistribution(0, 1)),
        ("batch_size=128,16", CategoricalDistribution([16, 32, 128])),
        ("clip_norm=1,5", CategoricalDistribution([1, 5, None])),
    ],
    ids=[
        "rate",
        "from zero",
        "whole",
        "whole and wide",
        "the target's is no whole number",
        "values with the target's own",
        "none",
    ],
)
def test_ranges_and_values_become_distributions(subject_of, text, expected):
    """A range is logarithmic from a factor of ten on, and whole where its ends and the target's value are."""
    space = Space(parse(text, "tune"), subject_of(model=sized))
    assert next(iter(space.distributions().values())) == expected


def test_a_recipe_has_the_values(subject_of):
    """Settings, every group of the optimizer, and the model factory's keywords; the target's recipe is untouched."""
    subject = subject_of(model=sized, lr=0.5)
    space = Space(parse("lr=0.1;epochs=2;model.hidden=5", "grid"), subject)
    assert space.own == {"lr": 0.5, "epochs": 6, "model.hidden": 16}
    recipe = space.at({"lr": 0.1, "epochs": 2, "model.hidden": 5})
    model = recipe.build(0)
    assert recipe.training.epochs == 2 and model[0].out_features == 5
    assert recipe.training.optimizer(model.parameters()).param_groups[0]["lr"] == 0.1
    assert subject.recipe.training.epochs == 6 and subject.recipe.build(0)[0].out_features == 16


def test_a_grid_is_every_combination_but_the_targets_own(subject_of):
    """The unchanged target is trained anyhow."""
    points = list(Space(parse("batch_size=16,32;epochs=6,7", "grid"), subject_of()).points())
    assert [words(point) for point in points] == [
        "batch_size 16, epochs 6",
        "batch_size 16, epochs 7",
        "batch_size 32, epochs 7",
    ]


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("lrr=1,2", {}, "can vary lr, "),
        ("model.width=1,2", {"model": sized}, "model.hidden, model.dropout, but got 'model.width'"),
        ("epochs=0,1", {}, "training.epochs must be a whole number of at least 1, but got 0"),
        ("batch_size=1.5..20", {}, "training.batch_size must be a whole number of at least 1, but got 1.5"),
        ("lr=fast,slow", {}, "lr must be a number of at least 0, but got 'fast'"),
        ("lr=-1,1", {}, "lr must be a number of at least 0, but got -1"),
        ("shuffle=1,0", {}, "training.shuffle must be True or False, but got 1"),
        ("lr=1,2", {"fit": lambda *_: None}, "but got 'lr', which its own `fit` sets"),
        (
            "batch_size=1,2",
            {"loader": lambda x, y, split: [(x, y)]},
            "but got 'batch_size', which its own `loader` sets",
        ),
    ],
    ids=[
        "unknown",
        "unknown keyword",
        "no epochs",
        "half a sample",
        "a word",
        "negative",
        "a number for a switch",
        "own loop",
        "own loader",
    ],
)
def test_what_a_target_cannot_vary_is_refused(subject_of, text, settings, expected):
    """The sentence lists what it can, or says what the value must be."""
    with pytest.raises(TargetError) as refused:
        Space(parse(text, "tune"), subject_of(**settings))
    assert expected in str(refused.value)


def test_an_option_of_another_optimizer_is_known(subject_of):
    """SGD has a momentum, Adam has none."""
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.5)
    assert Space(parse("momentum=0..0.9", "tune"), subject_of(optimizer=optimizer)).own == {"momentum": 0.5}
    with pytest.raises(TargetError, match="but got 'momentum'"):
        Space(parse("momentum=0..0.9", "tune"), subject_of())
