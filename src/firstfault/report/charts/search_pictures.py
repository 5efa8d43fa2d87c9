"""What a sweep tried, and what came of it: each training's score, by its order, its settings and its epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from firstfault.ablation.sweeps.job import SweepTrial
from firstfault.ablation.sweeps.results import SweepResult
from firstfault.charts.axes import Scale, fit
from firstfault.charts.heat import SHADES, Shading
from firstfault.charts.pane import Pane, tick_text
from firstfault.charts.svg import Part, grid, key, whole, words
from firstfault.output.numbers import number

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


WIDTH, HEIGHT = 540.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 54.0, 16.0, 30.0, 42.0
SLICE = 250.0
MOST_SETTINGS = 6  # columns that stay apart in the width of a picture
SEED = "seed"


@dataclass(frozen=True)
class Setting:
    """What was varied: its values as places on an axis, with the texts of an axis of names."""

    name: str
    places: Sequence[float]
    names: Sequence[str] = ()
    log: bool = False

    def scale(self, start: float, end: float) -> Scale:
        """The scale on which the places lie."""
        ends = [-0.3, len(self.names) - 0.7] if self.names else self.places
        return fit(ends, start, end, log=self.log, pad=0.06)

    def ticks(self, scale: Scale, about: int) -> list[float]:
        """Where the axis is named."""
        return [float(place) for place in range(len(self.names))] if self.names else scale.ticks(about)

    def text(self, tick: float) -> str:
        """The name of a tick."""
        return self.names[int(tick)] if self.names else tick_text(tick)


def search_pictures(result: SweepResult) -> dict[str, Markup]:
    """Pictures by title: every score; of a grid or search, settings together and alone; and the scores by epoch."""
    trials = [trial for trial in result.searched if trial.state != "failed" and math.isfinite(trial.score)]
    if not trials:
        return {}
    scores = [trial.score for trial in trials]
    shades = Shading(min(scores), max(scores), kind="v")
    settings = settings_of(trials, result.distributions) if result.mode != "factors" else []
    parts = {
        "Score of every training": _history(trials, result.metric),
        "Settings together": _together(trials, settings, shades, result.metric) if settings else None,
        "Each setting": grid([_slice(trials, one, result.metric) for one in settings], 2) if settings else None,
        "Scores after each epoch": _by_epoch(trials, shades, result.metric),
    }
    return {title: whole(title, part) for title, part in parts.items() if part is not None}


def settings_of(trials: Sequence[SweepTrial], distributions: Mapping[str, BaseDistribution]) -> list[Setting]:
    """Each varied setting with its values, the seed last where there are several."""
    found = [_setting(name, [trial.values[name] for trial in trials], of) for name, of in distributions.items()]
    seeds = sorted({trial.seed for trial in trials})
    if len(seeds) > 1:
        found.append(Setting(SEED, [float(seeds.index(trial.seed)) for trial in trials], [str(seed) for seed in seeds]))
    return found[:MOST_SETTINGS]


def _setting(name: str, values: Sequence[Any], distribution: BaseDistribution) -> Setting:
    choices = list(getattr(distribution, "choices", ()))
    if choices:
        texts = [number(choice) if isinstance(choice, bool | int | float) else str(choice) for choice in choices]
        return Setting(name, [float(choices.index(value)) for value in values], [text[:14] for text in texts])
    return Setting(name, [float(value) for value in values], log=bool(getattr(distribution, "log", False)))


def _history(trials: Sequence[SweepTrial], metric: str) -> Part:
    """A dot for each training in turn, and the best score until then."""
    points = [(float(place), trial.score) for place, trial in enumerate(trials, 1)]
    pane = _pane([place for place, _ in points], [score for _, score in points])
    best = list(zip([place for place, _ in points], accumulate((score for _, score in points), max), strict=True))
    pruned = [point for point, trial in zip(points, trials, strict=True) if trial.state == "pruned"]
    ended = [point for point in points if point not in pruned]
    drawn = pane.frame("training, in the order in which they were tried", metric, whole=True)
    drawn += pane.thread(best, "validation") + pane.dots(pruned, "other") + pane.dots(ended, "train")
    entries = [("train", "one training"), ("validation", "the best until then")]
    legend = key([*entries, *([("other", "given up early")] if pruned else [])], WIDTH)
    about = f"{len(trials)} trainings, the best {number(max(trial.score for trial in trials))}"
    return grid([Part(drawn, WIDTH, HEIGHT, about), legend], 1, 6)


def _pane(xs: Sequence[float], ys: Sequence[float], width: float = WIDTH) -> Pane:
    return Pane(fit(xs, LEFT, width - RIGHT, pad=0.03), fit(ys, HEIGHT - BOTTOM, TOP))


def _slice(trials: Sequence[SweepTrial], setting: Setting, metric: str) -> Part:
    """The scores over one setting."""
    across = setting.scale(LEFT, SLICE - RIGHT)
    pane = Pane(across, fit([trial.score for trial in trials], HEIGHT - BOTTOM, TOP))
    points = list(zip(setting.places, (trial.score for trial in trials), strict=True))
    ticks = setting.ticks(across, 3)
    body = pane.frame(setting.name, metric, x_ticks=ticks, x_text=setting.text) + pane.dots(points, "train")
    return Part(body, SLICE, HEIGHT, f"{metric} over {setting.name}")


def _together(trials: Sequence[SweepTrial], settings: Sequence[Setting], shades: Shading, metric: str) -> Part:
    """An axis for each setting and one for the score, and a thread through them for each training."""
    score = Setting(metric, [trial.score for trial in trials])
    axes = [*settings, score]
    xs = [70 + place * (WIDTH - 140) / max(1, len(axes) - 1) for place in range(len(axes))]
    scales = [one.scale(HEIGHT - BOTTOM, TOP) for one in axes]
    threads = []
    for place in sorted(range(len(trials)), key=lambda place: trials[place].score):
        points = " L".join(f"{x:.1f} {up(one.places[place]):.1f}" for x, up, one in zip(xs, scales, axes, strict=True))
        threads.append(f'<path class="thread {shades(trials[place].score)}" d="M{points}"/>')
    drawn = "".join([*threads, *(_upright(one, up, x) for one, up, x in zip(axes, scales, xs, strict=True))])
    about = f"{len(trials)} trainings over {', '.join(one.name for one in settings)}"
    return grid([Part(drawn, WIDTH, HEIGHT - 14, about), _score_key(shades, metric)], 1, 6)


def _upright(setting: Setting, up: Scale, x: float) -> str:
    ticks = "".join(
        f'<text class="tick over" x="{x - 6:.1f}" y="{up(tick) + 4:.1f}" text-anchor="end">{setting.text(tick)}</text>'
        for tick in setting.ticks(up, 4)
    )
    line = f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP:g}" y2="{HEIGHT - BOTTOM:g}"/>'
    return line + ticks + words(setting.name, x, HEIGHT - BOTTOM + 20, "label", anchor="middle", most=18)


def _by_epoch(trials: Sequence[SweepTrial], shades: Shading, metric: str) -> Part | None:
    """The score after each epoch of each training that took it."""
    seen = [trial for trial in trials if len(trial.epochs) > 1]
    if not seen:
        return None
    last = max(len(trial.epochs) for trial in seen)
    pane = _pane([1.0, float(last)], [score for trial in seen for score in trial.epochs])
    drawn = pane.frame("epoch", metric, whole=True) + "".join(
        pane.thread([(float(epoch), score) for epoch, score in enumerate(trial.epochs, 1)], shades(trial.score) or "")
        for trial in seen
    )
    return grid(
        [Part(drawn, WIDTH, HEIGHT, f"{len(seen)} trainings over {last} epochs"), _score_key(shades, metric)], 1, 6
    )


def _score_key(shades: Shading, metric: str) -> Part:
    """The shades side by side, from the worst score to the best."""
    boxes = "".join(
        f'<rect class="bar {shades.kind}{shade}" x="{130 + shade * 18}" y="2" width="18" height="10"/>'
        for shade in range(SHADES)
    )
    ends = words(f"{metric} {number(shades.low)}", 122, 11, anchor="end") + words(number(shades.high), 300, 11)
    return Part(boxes + ends, WIDTH, 18)
