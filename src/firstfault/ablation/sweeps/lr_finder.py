"""A learning rate from a range test: the rate grows with every batch, and the loss tells which one still helps."""

from __future__ import annotations

import math
from itertools import chain, repeat

import torch

from firstfault.errors import Missing
from firstfault.interrupts import pass_on
from firstfault.training.batches import batches_of
from firstfault.training.recipe import Recipe, outputs_of

LOWEST, HIGHEST = 1e-6, 10.0
"""Seven decades around the usual rates, which are 0.001 for Adam and 0.05 for SGD."""
STEPS = 100
"""Batches, as many as fastai's range test takes: 14 to a factor of ten."""
SMOOTH = 0.8
"""Of the running mean: it looks back on some 5 batches, in which the rate about doubles."""
BEYOND = 4.0
"""Times the first loss, at which the test ends since it diverges; fastai takes 4 times the lowest one."""
LEAST_FALL = 0.02
"""Of the first loss: a smaller fall may be the batches' own noise. A choice of ours."""
BELOW_THE_BEST = 10.0
"""Times that the suggestion lies below the rate of the lowest loss, at which the loss is about to rise: fastai's."""


def suggested_rate(recipe: Recipe) -> tuple[float, float]:
    """The optimizer's own rate, and the one that a range test of 100 batches suggests.

    The rate rises from 1e-6 to 10 in equal factors; the suggestion is a tenth of the one at which the smoothed loss was
    lowest.

    Raises:
        Missing: where no rate lowers the loss, or the training can't be run.

    Source: Smith 2017, Cyclical Learning Rates for Training Neural Networks, section 3.3; fastai's "minimum / 10".
    """
    try:
        own, curve = _curve(recipe)
    except BaseException as error:  # the user's model, loss or optimizer
        pass_on(error)
        raise Missing(f"a range test of the learning rate can't be run: {type(error).__name__}") from error
    if len(curve) < 2:
        raise Missing("a range test of the learning rate saw no finite loss")
    start = curve[0][1]
    rate, lowest = min(curve, key=lambda point: point[1])
    if lowest > start - LEAST_FALL * abs(start):
        raise Missing("no learning rate lowers the loss")
    return own, rate / BELOW_THE_BEST


def _curve(recipe: Recipe) -> tuple[float, list[tuple[float, float]]]:
    settings, model = recipe.training, recipe.build(recipe.training.seed)
    optimizer: torch.optim.Optimizer = (settings.optimizer or torch.optim.Adam)(model.parameters())
    own = float(optimizer.param_groups[0]["lr"])
    batches = chain.from_iterable(repeat(batches_of(recipe, "train", settings.seed), STEPS))
    points: list[tuple[float, float]] = []
    smoothed = math.nan
    for number, (x, y) in zip(range(STEPS), batches, strict=False):
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / (STEPS - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = recipe.loss(outputs_of(model(recipe.inputs_for(model, x))), y)
        value = float(loss.detach())
        smoothed = value if not points else SMOOTH * smoothed + (1 - SMOOTH) * value
        if not math.isfinite(smoothed) or (points and abs(smoothed) > BEYOND * max(abs(points[0][1]), 1e-12)):
            break
        points.append((rate, smoothed))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return own, points
