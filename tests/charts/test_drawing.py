"""Scales, curves, pictures and PNGs keep what they are given."""

import io
import math
import re

import numpy as np
import pytest
from PIL import Image

from firstfault.charts.axes import fit
from firstfault.charts.curves import Line, Mark, line_chart, thin
from firstfault.charts.png import image_png
from firstfault.report.charts.pictures import share_bar, swaps_plot
from firstfault.verdict import Outcome, Swap


@pytest.mark.parametrize(
    "values", [[0, 1], [-3.2, 8.7], [5, 5], [0, 0], [1e-9, 3e-9], [1e12, 4e12], [], [float("nan")]]
)
def test_ticks_are_round_and_inside(values):
    """Any range gets a few ticks within it."""
    scale = fit(values, 0, 100)
    ticks = scale.ticks(5)
    assert 2 <= len(ticks) <= 8
    assert all(scale.low <= tick <= scale.high for tick in ticks)


@pytest.mark.parametrize("values", [[1e-8, 1e8], [1, 2], [0.5, 60], [0, 10, 1000], [3, 3]])
def test_a_logarithmic_scale_has_ticks_too(values):
    """Narrow and wide ranges, and zeros among the values."""
    scale = fit(values, 0, 100, log=True)
    assert 2 <= len(scale.ticks(5)) <= 9
    assert 0 <= scale(values[0]) <= scale(values[-1]) <= 100


def test_a_logarithmic_scale_without_positive_values_is_linear():
    """Only zeros can't be drawn by their logarithm."""
    assert not fit([0.0, 0.0], 0, 1, log=True).log


def test_thinning_keeps_peaks_and_the_first_bad_value():
    """A single spike and a single NaN in 10,000 steps survive."""
    values = [1.0] * 10_000
    values[4321], values[7654] = 99.0, float("nan")
    kept = thin(range(10_000), values)
    assert len(kept) <= 450
    assert (4321, 99.0) in kept
    assert any(math.isnan(y) for _, y in kept)


def test_a_value_that_is_not_finite_interrupts_the_curve():
    """NaN is a gap with a cross, not a point."""
    chart = line_chart("loss", [Line("train", [1, 2, 3, 4, 5], [1.0, 0.9, float("nan"), 0.8, 0.7])], x_label="step")
    assert chart.count("<polyline") == 2 and 'class="lost"' in chart
    assert "nan" not in chart.lower().replace("nan</", "")


@pytest.mark.parametrize("y", [[], [1.0], [float("inf")] * 3, [0.0] * 3])
def test_short_and_empty_curves_are_drawn(y):
    """No curve is too short for a chart."""
    chart = line_chart("x", [Line("train", list(range(len(y))), y)], x_label="epoch", log=True, marks=[Mark(1, "here")])
    assert chart.startswith("<svg") and "inf" not in chart


def test_names_at_the_ends_do_not_overlap():
    """Curves that end together have their names apart."""
    lines = [Line(name, [1, 2], [1.0, 0.5], name) for name in ("train", "validation")]
    chart = line_chart("loss", lines, x_label="epoch")
    heights = sorted(float(y) for y in re.findall(r'class="name \w+" x="\d+" y="([\d.]+)"', chart))
    assert heights[1] - heights[0] >= 28


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (3, 8, 8), (8, 8, 3), (4, 9, 9), (8, 8, 1), (7, 12, 12), (28, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64, bool])
def test_an_image_becomes_a_png_of_its_size(shape, dtype):
    """Channels first or last, any dtype."""
    image = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    with Image.open(io.BytesIO(image_png(image))) as picture:
        assert sorted(picture.size) == sorted(
            size for size in shape if size >= 5 and not (len(shape) == 3 and size == 7)
        )


def test_pixels_are_stretched_and_nan_is_black():
    """The smallest value is black, the largest white."""
    with Image.open(io.BytesIO(image_png(np.array([[-4.0, 0.0], [np.nan, 4.0]])))) as picture:
        assert np.asarray(picture).tolist() == [[0, 128], [0, 255]]


def test_class_shares_are_told_in_words():
    """The bar has a label with every share."""
    assert 'aria-label="no: 76 %, yes: 24 %"' in share_bar({"no": 0.76, "yes": 0.24})
    assert share_bar(None) == "–" and share_bar({}) == "–"


def test_swaps_are_plotted_that_have_both_scores():
    """From the score as it is to the one with a part replaced; swaps without scores are left out."""
    swaps = [Swap("lr ÷10", "accuracy", 0.8, 0.9, 3), Swap("failed", "accuracy", 0.8, None, 3)]
    plot = swaps_plot([Outcome("learning_rate_too_high", True, swap) for swap in swaps])
    assert "lr ÷10: 0.8 to 0.9" in plot and "failed" not in plot
    assert swaps_plot([Outcome("learning_rate_too_high", True, swaps[1])]) is None
