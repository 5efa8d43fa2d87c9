"""What is told of a single column of an incident, by its values before and after."""

import numpy as np
import pytest

from firstfault.checks.data._column_fillings import one_value
from firstfault.checks.data._column_marks import Column
from firstfault.checks.data._column_units import new_unit


def column(before, after, known=()):
    return Column("x", np.asarray(before).tolist(), np.asarray(after).tolist(), list(known), 5)


def some(draw, values, changed, share=0.6):
    """Values, of which a share is changed."""
    return np.where(draw.random(len(values)) < share, changed, values)


DRAW = np.random.default_rng(5)
CENTRED, TALL = DRAW.normal(1, 2, (2, 500)), DRAW.normal(15, 7, (2, 500))
WHOLE = DRAW.integers(1, 17, (2, 500)).astype(float)
UNITS = {
    "a thousandth, in the middle of the others": (CENTRED, some(DRAW, CENTRED[1], CENTRED[1] / 1000), 0.001),
    "whole pounds as rounded kilograms, in some": (WHOLE, some(DRAW, WHOLE[1], (WHOLE[1] * 0.4536).round(4)), 0.4536),
    "the other sign": (TALL, -TALL[1], -1.0),
    "far out": (TALL, some(DRAW, TALL[1], DRAW.uniform(-209, -34, 500)), None),
    "more of the small ones": (TALL, np.abs(TALL[1]) * DRAW.uniform(0.2, 1.0, 500), None),
}


@pytest.mark.parametrize("name", UNITS)
def test_another_unit_is_told_by_its_factor(name):
    """Turned back by one factor, the values are the usual ones; what is only elsewhere is in no other unit."""
    before, after, factor = UNITS[name]
    mark = new_unit(column(before[0], after, before[0]))
    assert (mark and mark.value) == (factor and pytest.approx(factor, rel=0.01))


def test_a_default_beside_a_usual_zero_is_told():
    """Most values are zero in every part of the usual ones, which makes no other constant usual."""
    before = np.where(DRAW.random(600) < 0.92, 0.0, DRAW.gamma(2, 900, 600))
    after = np.where(np.arange(200) < 176, 1188.128, before[:200])
    mark = one_value(column(before, after))
    assert mark is not None and "1188.128 in 88%" in mark.message
