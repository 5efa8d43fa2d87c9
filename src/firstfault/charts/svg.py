"""Pictures as SVG, put together of parts: one element for a page, described for screen readers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from firstfault.output.escaping import visible

CHARACTER = 6.6
"""The mean width of a character of a label, in the units of a picture."""
HEAD = 26


@dataclass(frozen=True)
class Part:
    """What is drawn from the corner (0, 0): its SVG, its size, and what it shows in words."""

    body: str
    width: float
    height: float
    about: str = ""


def words(
    text: str, x: float, y: float, style: str = "tick", *, anchor: str = "start", most: int = 400, turn: int = 0
) -> str:
    """A text at a place, as it is written; one longer than `most` is cut, and whole where the pointer rests."""
    whole = visible(text)
    short = whole if len(whole) <= most else f"{whole[: most - 1]}…"
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    title = f"<title>{escape(whole)}</title>" if short != whole else ""
    place = f'class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turned}'
    return f"<text {place}>{escape(short)}{title}</text>"


def picture(
    title: str, about: str, width: float, height: float, parts: Iterable[str], *, note: str = "", style: str = "chart"
) -> Markup:
    """The element: a title at its top left, a note at its top right, and what is drawn."""
    return Markup(
        f'<svg class="{style}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(visible(f"{title}: {about}" if about else title))}">'
        f"{words(title, 0, 15, 'title', most=int(width / 8))}"
        f"{words(note, width, 15, anchor='end') if note else ''}{''.join(parts)}</svg>"
    )


def whole(title: str, part: Part, *, note: str = "") -> Markup:
    """A part as a picture of its own."""
    body = placed(part, 0, HEAD)
    return picture(title, part.about, part.width, HEAD + part.height, [body], note=note)


def grid(parts: Sequence[Part], across: int, gap: float = 24) -> Part:
    """Parts in rows of so many, each column as wide and each row as high as its largest."""
    rows = [parts[first : first + across] for first in range(0, len(parts), across)]
    widths = [max(part.width for part in parts[place::across]) for place in range(min(across, len(parts)))]
    drawn, y = [], 0.0
    for row in rows:
        x = 0.0
        for part, width in zip(row, widths, strict=False):
            drawn.append(placed(part, x, y))
            x += width + gap
        y += max(part.height for part in row) + gap
    about = "; ".join(part.about for part in parts if part.about)
    return Part("".join(drawn), sum(widths) + gap * (len(widths) - 1), y - gap, about)


def placed(part: Part, x: float, y: float) -> str:
    """The SVG of a part with its corner at a place."""
    return f'<g transform="translate({x:.1f} {y:.1f})">{part.body}</g>' if x or y else part.body


def key(entries: Sequence[tuple[str, str]], width: float, *, mark: str = "bar") -> Part:
    """Colours with what they stand for, in as many lines as they need: of each the class and the words."""
    drawn, x, y = [], 0.0, 0.0
    for style, said in entries:
        wide = 26 + CHARACTER * len(said)
        if x and x + wide > width:
            x, y = 0.0, y + 18
        drawn.append(f'<rect class="{mark} {style}" x="{x:.1f}" y="{y + 2:.1f}" width="10" height="10" rx="2"/>')
        drawn.append(words(said, x + 15, y + 11))
        x += wide
    return Part("".join(drawn), width, y + 16)
