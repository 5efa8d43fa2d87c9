"""Parts of pictures: what they are given is drawn at its place, told in words, and sound XML whatever the text."""

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from firstfault.charts.axes import fit
from firstfault.charts.bars import Series, histograms, share_bars
from firstfault.charts.files import MARGIN, size_of, style_sheet, write_picture
from firstfault.charts.heat import Shading
from firstfault.charts.pane import Pane
from firstfault.charts.scatter import Group, by_value, scatter
from firstfault.charts.svg import Part, grid, key, whole
from firstfault.charts.tiles import SIDE, Tile, tiles

EVIL = '<script>alert(1)</script> & "x" \x00\x1b[31m \ud800 \u202e ' * 9
SVG = "{http://www.w3.org/2000/svg}"


def bars(names, **values):
    """Shares of some names."""
    return share_bars("shares", names, [Series(name, found, "train") for name, found in values.items()], x_label="rows")


@pytest.mark.parametrize(
    "part",
    [
        bars([EVIL, "b"], train=[0.5, 0.25]),
        scatter(EVIL, [Group(EVIL, [(1, 2)], "c0")], x_label=EVIL, y_label=EVIL, size=(300, 200)),
        histograms(EVIL, [0, 1], [Series(EVIL, [1.0], "train")], x_label=EVIL, y_label=EVIL, size=(300, 200)),
        tiles([[Tile(np.eye(9), (EVIL,))]]),
        key([("train", EVIL)], 300),
    ],
    ids=["bars", "scatter", "histograms", "tiles", "key"],
)
def test_any_text_is_shown_and_acts_on_nothing(part, tmp_path):
    """Tags, quotes, controls and half pairs are texts of a file that is sound XML."""
    root = ElementTree.parse(tmp_path / write_picture(tmp_path, "a.svg", whole(EVIL, part))).getroot()
    assert not [element for element in root.iter() if "script" in element.tag]
    assert any(text.text and "<script>" in text.text for text in root.iter(f"{SVG}text"))


def test_bars_are_as_long_as_their_shares():
    """Twice the share is twice the length; nothing has none."""
    widths = [
        float(width)
        for width in re.findall(r'class="bar train".*?width="([\d.]+)"', bars("abc", train=[0.4, 0.2, 0]).body)
    ]
    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2) and widths[2] == 0


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, 1.0], [0.3, 1e-9]])
def test_shares_at_their_bounds_have_an_axis(values):
    """None, all, and next to nothing."""
    assert "0 %" in bars("ab", train=values).body


def test_points_that_are_not_finite_are_left_out():
    """NaN and infinity have no place."""
    pane = Pane(fit([0, 1], 0, 100, pad=0), fit([0, 1], 100, 0, pad=0))
    assert pane.dots([(0.0, 0.0), (math.nan, 1.0), (1.0, math.inf), (1.0, 1.0)], "c0").count("h0") == 2
    assert pane.thread([(0.0, math.nan), (1.0, 1.0)], "c0") == "" and pane.dots([], "c0") == ""


def test_values_are_shaded_from_the_least_to_the_greatest():
    """Values beyond the bounds have the shades of the bounds, and one that is missing none of them."""
    groups = by_value([(0, 0), (1, 1), (2, 2), (3, 3)], [-9.0, 0.0, 9.0, math.nan], Shading(-1, 1, kind="v"))
    assert [(group.style, group.points) for group in groups] == [("v0", [(0, 0)]), ("v4", [(1, 1)]), ("v8", [(2, 2)])]


def test_parts_lie_beside_and_below_each_other():
    """Columns are as wide and rows as high as their largest part."""
    made = grid([Part("<a/>", 10, 5), Part("<b/>", 30, 20), Part("<c/>", 40, 7)], 2, gap=4)
    assert (made.width, made.height) == (40 + 4 + 30, 20 + 4 + 7)
    assert 'translate(44.0 0.0)"><b/>' in made.body and 'translate(0.0 24.0)"><c/>' in made.body


def test_a_frame_lies_around_its_pixels():
    """In an image wider than high, which stands in the middle of its square tile."""
    drawn = tiles([[Tile(np.zeros((5, 10)), frame=(0, 8, 1, 9))]]).body
    x, y, width, height = map(
        float, re.search(r'class="rings" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', drawn).groups()
    )
    assert (x, y) == (pytest.approx(SIDE * 0.8, abs=0.1), pytest.approx(SIDE / 4, abs=0.1))
    assert width == height == pytest.approx(SIDE / 5, abs=0.1)


def test_a_file_holds_its_colours_for_light_and_dark(tmp_path):
    """No variable is left to a viewer that knows none; each colour has its value for dark screens too."""
    name = write_picture(tmp_path, "a.svg", whole("shares", bars(["a"], train=[0.5])))
    text = (tmp_path / name).read_text()
    light, dark = text.split("@media", 1)
    assert "var(" not in text and "color-mix" not in text and "#1f5fbf" in light and "#79aefc" in dark
    assert ".chart .h8" in light and ".chart .h8" in dark
    assert size_of(text) == (520 + 2 * MARGIN, size_of(whole("shares", bars(["a"], train=[0.5])))[1] + 2 * MARGIN)


def test_every_class_of_colour_has_its_rule():
    """Shades, groups, splits and verdicts: none is drawn in black for want of a rule."""
    sheet = style_sheet()
    shades = [f"{kind}{shade}" for kind in "hvd" for shade in range(9)]
    groups = [f"c{place}" for place in range(10)]
    for name in [*shades, *groups, "train", "validation", "test", "other", "better", "worse", "plain", "waiting"]:
        assert f".chart .{name} {{" in sheet, name
