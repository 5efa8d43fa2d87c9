"""A picture as a file of its own, which any viewer of SVG shows: on its own paper, its colours written out."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from firstfault.output.whole_files import write_text

SHEET = Path(__file__).with_name("charts.css")
SVG = "http://www.w3.org/2000/svg"
MARGIN = 12
DARK = "@media screen and (prefers-color-scheme: dark)"
_VIEW_BOX = re.compile(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"')
_VARIABLE = re.compile(r"--([\w-]+):\s*([^;]+);")
_USE = re.compile(r"var\(--([\w-]+)\)")
_MIX = re.compile(r"color-mix\(in oklab, (#\w+) (\d+)%, (#\w+)\)")


def style_sheet() -> str:
    """The rules of charts for a page, whose colours are variables."""
    return SHEET.read_text(encoding="utf-8")


def write_picture(folder: Path, name: str, drawn: str) -> str:
    """Write a picture, an `<svg>` element, as an SVG file of that name, with a margin; the name."""
    width, height = (side + 2 * MARGIN for side in size_of(drawn))
    start = drawn.index(">") + 1
    box = f'viewBox="{-MARGIN} {-MARGIN} {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    head = _VIEW_BOX.sub(box, drawn[:start], 1).replace("<svg ", f'<svg xmlns="{SVG}" ', 1)
    paper = f'<rect class="paper" x="{-MARGIN}" y="{-MARGIN}" width="{width:g}" height="{height:g}"/>'
    write_text(Path(folder) / name, f"{head}<style>{_plain_style()}</style>{paper}{drawn[start:]}\n")
    return name


def size_of(drawn: str) -> tuple[float, float]:
    """The width and height of a picture by its view box; zeros where it has none."""
    found = _VIEW_BOX.search(drawn)
    return (float(found[1]), float(found[2])) if found else (0.0, 0.0)


@functools.cache
def _plain_style() -> str:
    """The rules with every colour written out, for light and for dark screens: not every viewer knows variables."""
    sheet = style_sheet()
    light, dark = (dict(_VARIABLE.findall(block)) for block in re.findall(r":root \{([^}]*)\}", sheet))
    rules = re.sub(r"/\*.*?\*/", "", sheet[sheet.index(".chart {") :])
    coloured = "\n".join(line for line in rules.splitlines() if "var(" in line)
    return f"{_resolved(rules, light)}{DARK} {{{_resolved(coloured, light | dark)}}}"


def _resolved(rules: str, colours: dict[str, str]) -> str:
    named = _USE.sub(lambda use: colours[use[1]], rules)
    return _MIX.sub(lambda mix: _mixed(mix[1], mix[3], int(mix[2]) / 100), named)


def _mixed(first: str, second: str, share: float) -> str:
    parts = zip(_channels(first), _channels(second), strict=True)
    return "#" + "".join(f"{round(share * one + (1 - share) * two):02x}" for one, two in parts)


def _channels(colour: str) -> list[int]:
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    return [int(digits[place : place + 2], 16) for place in (0, 2, 4)]
