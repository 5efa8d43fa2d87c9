"""Small pictures beside the words: what a swap did, how classes are shared, what an ablation changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeGuard

from markupsafe import Markup, escape

from firstfault.charts.axes import Scale, fit
from firstfault.charts.svg import words
from firstfault.output.numbers import number, percent
from firstfault.report.formatting import score, swap_basis, swap_numbers
from firstfault.values import Row
from firstfault.verdict import Outcome, Swap

SLOPE = (380, 216)
ROW, LABEL, AXIS = 34, 250, 620


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


def outcome_rows(outcomes: Sequence[Outcome], standing: Collection[str] = ()) -> list[Row]:
    """The swaps that were run, as rows that `change_plot` draws; what is `standing` without its swap is proven."""
    judged = {True: "confirmed", False: "refuted", None: "not tested"}
    return [
        {
            "change": outcome.swap.change,
            "before": outcome.swap.before,
            "after": outcome.swap.after,
            "judgement": "proven"
            if outcome.confirmed is False and outcome.fault in standing
            else judged[outcome.confirmed],
        }
        for outcome in outcomes
        if outcome.swap
    ]


def change_plot(rows: Sequence[Row]) -> Markup | None:
    """One row per change: from the score before to the score after, with the noise band where it is known.

    A row has `change` (or `factor`, `name`), and `before` and `after`, or `mean` and `difference` as a
    sweep writes them, or a `gain`; `std` or `noise`, the spread between seeds, is optional.
    None when no row has both ends.
    """
    ready = [(row, ends) for row in rows if (ends := _ends(row)) is not None][:40]
    if not ready:
        return None
    across = fit([end for _, ends in ready for end in ends], LABEL, AXIS)
    height = ROW * len(ready) + 30
    lines = "".join(_change(row, ends, across, 18 + ROW * index) for index, (row, ends) in enumerate(ready))
    ticks = "".join(
        f'<line class="grid" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="2" y2="{height - 22}"/>'
        f'<text class="tick" x="{across(tick):.1f}" y="{height - 6}" text-anchor="middle">{number(tick)}</text>'
        for tick in across.ticks(6)
    )
    about = "; ".join(f"{_name(row)}: {number(ends[0])} to {number(ends[1])}" for row, ends in ready)
    return Markup(
        f'<svg class="chart changes" viewBox="0 0 {AXIS + 70} {height}" role="img" aria-label="{escape(about)}">'
        f"{ticks}{lines}</svg>"
    )


def _ends(row: Row) -> tuple[float, float] | None:
    before, after = row.get("before"), row.get("after", row.get("mean"))
    gain = row.get("gain", row.get("difference"))
    if _real(before) and _real(after):
        return float(before), float(after)
    if _real(after) and _real(gain):
        return float(after) - float(gain), float(after)
    return (0.0, float(gain)) if after is None and _real(gain) else None


def _real(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and value == value and abs(value) != float("inf")


def _name(row: Row) -> str:
    return str(next((row[key] for key in ("change", "factor", "name", "swap") if row.get(key)), "change"))


def _change(row: Row, ends: tuple[float, float], across: Scale, y: float) -> str:
    start, end = across(ends[0]), across(ends[1])
    noise = row.get("noise", row.get("std"))
    band = ""
    if _real(noise):
        low, high = across(ends[0] - noise), across(ends[0] + noise)
        band = (
            f'<rect class="noise" x="{low:.1f}" width="{max(high - low, 1):.1f}" y="{y - 9}" height="18">'
            "<title>noise between seeds</title></rect>"
        )
    name = _name(row)
    style = "up" if ends[1] >= ends[0] else "down"
    return (
        f"{words(name, LABEL - 14, y + 4, 'label', anchor='end', most=36)}{band}"
        f'<line class="{style}" x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}"/>'
        f'<circle class="before" cx="{start:.1f}" cy="{y}" r="5"/>'
        f'<circle class="{style}" cx="{end:.1f}" cy="{y}" r="6"/>'
        f'<text class="value" x="{AXIS + 14}" y="{y + 4}">{score(ends[1])}</text>'
    )
