"""The picture of a sweep: every change's mean and seeds against the band of seed noise."""

from __future__ import annotations

from markupsafe import Markup

from firstfault.ablation.sweeps.results import SweepResult, SweepRow
from firstfault.charts.axes import Scale, fit
from firstfault.charts.pane import tick_text
from firstfault.charts.svg import Part, grid, key, whole, words

WIDTH, LEFT, RIGHT, ROW, FLOOR = 760.0, 300.0, 70.0, 26.0, 44.0
LONGEST = 44
STYLES = {"baseline": "plain", "better": "better", "worse": "worse", "within noise": "other", "pending": "waiting"}


def sweep_picture(result: SweepResult) -> Markup:
    """A row per change that was trained, the best on top.

    A large dot is the mean, the line through it its standard deviation, small dots are single seeds; the band is the
    unchanged target's mean ± noise.
    """
    rows = sorted((row for row in result.rows if row.mean is not None), key=lambda row: -(row.mean or 0.0))
    base, noise = result.baseline.mean, result.noise or 0.0
    scores = [value for row in rows for value in (*row.scores, *_spread(row))]
    across = fit([*scores, *([] if base is None else [base - noise, base + noise])], LEFT, WIDTH - RIGHT, pad=0.03)
    floor = ROW * max(1, len(rows))
    band = "" if base is None else _band(across(base - noise), across(base), across(base + noise), floor)
    changes = "".join(_change(row, across, ROW * (place + 0.5)) for place, row in enumerate(rows))
    label = words(
        f"{result.metric} on validation, higher is better", (LEFT + WIDTH - RIGHT) / 2, floor + 36, anchor="middle"
    )
    about = "; ".join(f"{row.change} {row.mean:.4g}, {row.verdict}" for row in rows if row.mean is not None)
    drawn = Part(band + _axis(across, floor) + changes + label, WIDTH, floor + FLOOR, about)
    return whole(f"{result.target}: {_title(result)}", grid([drawn, _key(rows, result)], 1, 8))


def _title(result: SweepResult) -> str:
    return "what the search found" if result.mode == "tune" else "one change at a time"


def _spread(row: SweepRow) -> tuple[float, float]:
    mean, deviation = row.mean or 0.0, row.std or 0.0
    return mean - deviation, mean + deviation


def _band(low: float, middle: float, high: float, floor: float) -> str:
    return (
        f'<rect class="noise" x="{low:.1f}" y="0" width="{high - low:.1f}" height="{floor:g}"/>'
        f'<line class="before" x1="{middle:.1f}" x2="{middle:.1f}" y1="0" y2="{floor:g}"/>'
    )


def _axis(across: Scale, floor: float) -> str:
    ticks = "".join(
        f'<line class="grid" x1="{across(tick):.1f}" x2="{across(tick):.1f}" y1="0" y2="{floor:g}"/>'
        f'<text class="tick" x="{across(tick):.1f}" y="{floor + 17:g}" text-anchor="middle">{tick_text(tick)}</text>'
        for tick in across.ticks(6)
    )
    return f'{ticks}<line class="axis" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{floor:g}" y2="{floor:g}"/>'


def _change(row: SweepRow, across: Scale, y: float) -> str:
    style, (low, high) = STYLES.get(row.verdict, "other"), _spread(row)
    seeds = "".join(f"M{across(score):.1f} {y:g}h0" for score in row.scores)
    gain = "" if row.difference is None else f"{row.difference:+.3f}".replace("-", "−")
    return (
        words(row.change, LEFT - 12, y + 4, "label", anchor="end", most=LONGEST)
        + f'<line class="whisker {style}" x1="{across(low):.1f}" x2="{across(high):.1f}" y1="{y:g}" y2="{y:g}"/>'
        + f'<path class="dots {style}" d="{seeds}"/>' * bool(seeds)
        + f'<path class="dots large {style}" d="M{across(row.mean or 0.0):.1f} {y:g}h0"/>'
        + words(gain, WIDTH - RIGHT + 12, y + 4, f"value {style}")
    )


def _key(rows: list[SweepRow], result: SweepResult) -> Part:
    seen = [(style, verdict) for verdict, style in STYLES.items() if any(row.verdict == verdict for row in rows)]
    noise = [] if result.noise is None else [("noise", f"seed noise ± {result.noise:.3f}")]
    return key([*seen, *noise], WIDTH)
