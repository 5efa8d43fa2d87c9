"""Accuracy over the size of each change to the inputs, as a drawing of a PDF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from firstfault.output.escaping import visible
from firstfault.values import Json

if TYPE_CHECKING:
    from reportlab.graphics.charts.lineplots import LinePlot
    from reportlab.graphics.shapes import Drawing, Shape, String


WIDTH, HEIGHT = 430, 200
LEFT, BOTTOM, RIGHT = 40, 58, 10
COLOURS = ("#1f5fbf", "#c14a09", "#17703f", "#6b3fa0", "#8a5a00", "#55606e")
INK, LINE = "#55606e", "#dfe3e8"
LONGEST = 24


def robustness_drawing(rows: Sequence[Json]) -> Drawing:
    """A line per change, each from the accuracy without one, which is the first row; a legend stands below."""
    from reportlab.graphics.shapes import Drawing

    changes = list(dict.fromkeys(row["change"] for row in rows[1:]))[: len(COLOURS)]
    clean = (0.0, float(rows[0]["accuracy"]))
    lines = [
        [clean, *((float(row["size"]), float(row["accuracy"])) for row in rows[1:] if row["change"] == change)]
        for change in changes
    ]
    drawing = Drawing(WIDTH, HEIGHT)
    drawing.add(_plot(lines or [[clean]]))
    drawing.add(_words("accuracy", LEFT, HEIGHT - 9, "start"))
    drawing.add(_words("size of the change, in deviations of each input", (LEFT + WIDTH - RIGHT) / 2, 28, "middle"))
    for place, change in enumerate(changes):
        for part in _key(change, COLOURS[place], LEFT + place * (WIDTH - LEFT) / len(changes)):
            drawing.add(part)
    return drawing


def _plot(lines: list[list[tuple[float, float]]]) -> LinePlot:
    from reportlab.graphics.charts.lineplots import LinePlot
    from reportlab.graphics.widgets.markers import makeMarker
    from reportlab.lib.colors import HexColor

    plot = LinePlot()
    plot.x, plot.y, plot.width, plot.height = LEFT, BOTTOM, WIDTH - LEFT - RIGHT, HEIGHT - BOTTOM - 18
    plot.data = lines
    for axis in (plot.xValueAxis, plot.yValueAxis):
        axis.valueMin, axis.strokeColor, axis.strokeWidth = 0, HexColor(INK), 0.5
        axis.labels.fontSize, axis.labels.fillColor = 8, HexColor(INK)
    plot.yValueAxis.valueMax, plot.yValueAxis.valueStep, plot.yValueAxis.labelTextFormat = 1, 0.25, "%.2f"
    plot.yValueAxis.visibleGrid, plot.yValueAxis.gridStrokeColor = True, HexColor(LINE)
    plot.xValueAxis.labelTextFormat = "%g"
    for place in range(len(lines)):
        plot.lines[place].strokeColor, plot.lines[place].strokeWidth = HexColor(COLOURS[place]), 1.4
        plot.lines[place].symbol = makeMarker("FilledCircle", size=4)
    return plot


def _key(change: str, colour: str, x: float) -> list[Shape]:
    """The colour of a line, with its change in words."""
    from reportlab.graphics.shapes import Circle
    from reportlab.lib.colors import HexColor

    text = visible(str(change))
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return [Circle(x + 3, 11, 3, fillColor=HexColor(colour), strokeColor=None), _words(short, x + 10, 8, "start")]


def _words(text: str, x: float, y: float, anchor: str) -> String:
    from reportlab.graphics.shapes import String
    from reportlab.lib.colors import HexColor

    return String(x, y, text, fontName="Helvetica", fontSize=8.5, fillColor=HexColor(INK), textAnchor=anchor)
