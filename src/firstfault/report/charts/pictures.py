"""Small pictures beside the words: what one swap did, what all of them did, how classes are shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from firstfault.charts.axes import Scale, fit
from firstfault.charts.svg import words
from firstfault.output.numbers import number, percent
from firstfault.report.formatting import score, swap_basis, swap_numbers
from firstfault.verdict import Outcome, Swap

SLOPE = (380, 216)
ROW, LABEL, AXIS, MOST = 34, 250, 620, 40


def swap_picture(swap: Swap) -> Markup:
    """A slope from the metric as it is to the metric with the fault undone, with both numbers."""
    width, height = SLOPE
    left, right, floor = 70.0, width - 70.0, height - 46.0
    scores = [value for value in (swap.before, swap.after) if value is not None]
    up = _score_scale(scores, floor, 40.0)
    ends = [(left, swap.before, "before", "as it is"), (right, swap.after, "after", "fault undone")]
    heights = [floor if value is None else up(value) for _, value, _, _ in ends]
    about = f"{swap.change}: {swap_numbers(swap)}, {swap_basis(swap)}"
    places = f'x1="{left + 12}" y1="{heights[0]:.1f}" x2="{right - 14}" y2="{heights[1]:.1f}"'
    slope = f'<line class="slope" {places} marker-end="url(#arrow)"/>'
    posts = "".join(
        f'<line class="grid" x1="{x}" x2="{x}" y1="24" y2="{floor + 8}"/>'
        f'<text class="tick" x="{x}" y="{height - 18}" text-anchor="middle">{text}</text>'
        for x, _, _, text in ends
    )
    dots = "".join(_end(x, y, value, style) for (x, value, style, _), y in zip(ends, heights, strict=True))
    arrow = (
        '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path class="head" d="M0 0L10 5L0 10z"/></marker></defs>'
    )
    worse = "" if _improves(swap) else " worse"
    gain = _gain(swap, (left + right) / 2, sum(heights) / 2)
    return Markup(
        f'<svg class="swap{worse}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(about)}">'
        f"{arrow}{posts}{slope}{dots}{gain}</svg>"
    )


def _improves(swap: Swap) -> bool:
    return swap.after is not None and (swap.before is None or swap.after > swap.before)


def _score_scale(scores: Sequence[float], floor: float, top: float) -> Scale:
    if not scores or (len(scores) == 2 and scores[0] != scores[1]):
        return fit(scores, floor, top, pad=0.08)
    return fit([scores[0] - 0.5, scores[0] + 0.5], floor, top)


def _end(x: float, y: float, value: float | None, style: str) -> str:
    text = score(value)
    hollow = " hollow" if value is None else ""
    return (
        f'<circle class="{style}{hollow}" cx="{x}" cy="{y:.1f}" r="7"/>'
        f'<text class="score {style}" x="{x}" y="{y - 15:.1f}" text-anchor="middle">{text}</text>'
    )


def _gain(swap: Swap, x: float, y: float) -> str:
    if swap.before is None or swap.after is None:
        return ""
    gain = swap.after - swap.before
    sign = "+" if gain >= 0 else ""
    return f'<text class="gain" x="{x + 14:.0f}" y="{y + 20:.1f}">{sign}{score(gain)}</text>'


def share_bar(shares: object) -> Markup:
    """The share of each class as one stacked bar, with the shares in words."""
    if not isinstance(shares, Mapping) or not shares:
        return Markup("–")
    items = [(str(key), float(share)) for key, share in shares.items()]
    text = ", ".join(f"{key}: {percent(share)}" for key, share in items)
    x, bars = 0.0, []
    hues = 4 if len(items) <= 4 else 2
    for index, (key, share) in enumerate(items):
        style, width = f"c{index % hues}{' many' * (hues == 2)}", max(share * 100 - 0.6, 0.3)
        bars.append(
            f'<rect class="{style}" x="{x:.2f}" y="0" width="{width:.2f}" height="12">'
            f"<title>{escape(key)}: {percent(share)}</title></rect>"
        )
        x += share * 100
    few = (
        f'<span class="shares">{escape(text)}</span>'
        if len(items) <= 3
        else f'<span class="shares">{len(items)} classes</span>'
    )
    return Markup(
        '<svg class="sharebar" viewBox="0 0 100 12" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(text)}">{"".join(bars)}</svg>{few}'
    )


def swaps_plot(outcomes: Sequence[Outcome]) -> Markup | None:
    """A row for each swap that was run: from the score as it is to the score with the part replaced.

    None when no swap has both.
    """
    ready = [
        (outcome.swap.change, outcome.swap.before, outcome.swap.after)
        for outcome in outcomes
        if outcome.swap and outcome.swap.before is not None and outcome.swap.after is not None
    ][:MOST]
    if not ready:
        return None
    across = fit([end for _, *ends in ready for end in ends], LABEL, AXIS)
    height = ROW * len(ready) + 30
    lines = "".join(_change(*swap, across, 18 + ROW * index) for index, swap in enumerate(ready))
    ticks = "".join(
        f'<line class="grid" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="2" y2="{height - 22}"/>'
        f'<text class="tick" x="{across(tick):.1f}" y="{height - 6}" text-anchor="middle">{number(tick)}</text>'
        for tick in across.ticks(6)
    )
    about = "; ".join(f"{change}: {number(before)} to {number(after)}" for change, before, after in ready)
    return Markup(
        f'<svg class="chart changes" viewBox="0 0 {AXIS + 70} {height}" role="img" aria-label="{escape(about)}">'
        f"{ticks}{lines}</svg>"
    )


def _change(change: str, before: float, after: float, across: Scale, y: float) -> str:
    start, end, style = across(before), across(after), "up" if after >= before else "down"
    return (
        f"{words(change, LABEL - 14, y + 4, 'label', anchor='end', most=36)}"
        f'<line class="{style}" x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}"/>'
        f'<circle class="before" cx="{start:.1f}" cy="{y}" r="5"/>'
        f'<circle class="{style}" cx="{end:.1f}" cy="{y}" r="6"/>'
        f'<text class="value" x="{AXIS + 14}" y="{y + 4}">{score(after)}</text>'
    )
