"""The score of an arm, higher is better, whatever the scale of its loss; and whether it repeats what was watched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from firstfault.checks.training._beside_the_loss import FEWEST_RETURNS
from firstfault.probe.answers import VALIDATION
from firstfault.probe.record import Record
from firstfault.watcher.rerun.arm import Ending, until

LAST = 10
"""The last tenth of the steps is judged."""
RARE = 0.2
"""Below this share of yeses, F1 is the score of yes and no: accuracy would be high for those who never say yes."""
WORST_R2 = -1.0
"""As low as an R² counts: one that exploded would hide every other difference."""
PARTS, ALIKE = 10, 0.25
"""A curve is compared part by part; two are alike if their parts lie a quarter of the curve's own range apart."""
LEAST_RANGE = 0.1
"""Of a curve that is flat, this share of its height counts as its range."""
STEPS_ALIKE = 0.9
"""The share of the steps that a repetition makes at least: data that vary may end an epoch a little sooner."""
RETURN = "return"


@dataclass(frozen=True)
class Score:
    """A score, with the rows that it was taken over, and that of a constant answer, where that is known."""

    value: float
    rows: int | None = None
    prior: float | None = None


@dataclass(frozen=True)
class Measure:
    """How the arms of one script are scored: by what it gains, by the sites of torch's losses, else by a loss."""

    metric: str
    sites: Mapping[str, str]

    @property
    def family(self) -> str:
        """The metric by whose rules differences are judged."""
        return "r2" if self.metric.endswith("R²") else "accuracy" if self.sites else "mse"

    def score(self, ending: Ending, steps: int) -> Score | None:
        """The score over the last tenth of that many steps; the worst where values are not finite, or steps lack."""
        if self.sites:
            scores = [_of_site(name, kind, ending.sites.get(name), steps) for name, kind in self.sites.items()]
            return Score(
                float(np.mean([score.value for score in scores])),
                sum(score.rows or 0 for score in scores),
                float(np.mean([score.prior or 0.0 for score in scores])),
            )
        series = {"validation loss": ending.validation, RETURN: ending.rewards}.get(self.metric, ending.losses)
        values = [value for _, value in until(series, steps)]
        if not values:
            return None
        if self.metric == RETURN:
            return Score(float(np.mean(values[-max(FEWEST_RETURNS // 3, len(values) // LAST) :])))
        last = values[-1:] if self.metric == "validation loss" else values[-max(1, len(values) // LAST) :]
        return Score(-float(np.mean(last)))


def measure_of(ending: Ending, *, keeps_loss: bool, on_validation: bool = False) -> Measure | None:
    """How the arms of a script are scored, of which this is one unchanged; None where nothing can be compared."""
    if tells_returns(ending):
        return Measure(RETURN, {})
    sites = {
        name: "F1" if site["kind"] == "yes_no" and _share_of_yes(site) < RARE else site["kind"]
        for name, site in ending.sites.items()
        if name.endswith(VALIDATION) is on_validation and _window(name, site, ending.steps)
    }
    if sites:
        names = {"classes": "accuracy", "yes_no": "accuracy", "numbers": "R²", "F1": "F1"}
        metrics = list(dict.fromkeys(names[kind] for kind in sites.values()))
        metric = metrics[0] if len(metrics) == 1 else f"mean of {' and '.join(metrics)}"
        return Measure(f"validation {metric}" if on_validation else metric, sites)
    if ending.validation.get("values"):
        return Measure("validation loss", {})
    return Measure("training loss", {}) if keeps_loss and not on_validation and ending.losses.get("values") else None


def tells_returns(ending: Ending) -> bool:
    """Whether a script acts, and its rewards tell what it has learnt."""
    values = ending.rewards.get("values", [])
    return len(values) >= FEWEST_RETURNS and len(set(values)) > 1


def comparable(values: Sequence[float]) -> list[float]:
    """Negative losses in which those that are not finite are twice as bad as the worst."""
    finite = [value for value in values if math.isfinite(value)]
    worst = min(finite, default=-1.0)
    return [value if math.isfinite(value) else worst - abs(worst) for value in values]


def unlike(record: Record, ending: Ending, crash: str = "") -> str:
    """In which way a run differs from the one that was watched, which `crash` ended; empty where it does not."""
    if ending.raised and ending.raised != crash:
        return f"it raised {ending.raised}"
    if not ending.cut and ending.steps < STEPS_ALIKE * record.steps:
        return f"it made {ending.steps:,} steps, and {record.steps:,} were watched"
    watched = until({"steps": list(record.loss.steps), "values": list(record.loss.values)}, ending.steps)
    again = until(ending.losses, ending.steps)
    if not watched or not again:
        return "no loss was seen"
    apart = curves_apart(watched, again, ending.steps)
    if apart <= ALIKE:
        return ""
    return f"its loss lies {min(apart, 99):.2g} × the range of the watched one away from it"


def curves_apart(watched: list[tuple[int, float]], again: list[tuple[int, float]], steps: int) -> float:
    """How far two curves lie apart, in units of the first one's range and noise; infinite where one alone is finite.

    That is the mean over the parts of both, or half of the largest, whichever is more: what begins from weights that
    were saved differs in its first part alone.
    """
    first, second = _parts(watched, steps), _parts(again, steps)
    pairs = [(one, other) for one, other in zip(first, second, strict=True) if one is not None and other is not None]
    known = [(one, other) for one, other in pairs if math.isfinite(one[0]) and math.isfinite(other[0])]
    broken = [(one, other) for one, other in pairs if not math.isfinite(one[0]) and not math.isfinite(other[0])]
    if len(known) + len(broken) < len(pairs) - 1 or not pairs:
        return math.inf
    if not known:
        return 0.0
    middles = [one[0] for one, _ in known]
    noise = float(np.mean([max(one[1], other[1]) for one, other in known]))
    scale = max(max(middles) - min(middles), noise, LEAST_RANGE * abs(float(np.mean(middles))), 1e-9)
    apart = [abs(one[0] - other[0]) / scale for one, other in known]
    return max(float(np.mean(apart)), max(apart) / 2)


def _parts(curve: list[tuple[int, float]], steps: int) -> list[tuple[float, float] | None]:
    """The median and the spread of each part of a curve, of which large values are taken by their logarithm."""
    parts: list[list[float]] = [[] for _ in range(PARTS)]
    for step, value in curve:
        parts[min(PARTS - 1, (step - 1) * PARTS // max(1, steps))].append(float(np.arcsinh(value)))
    return [(float(np.median(part)), float(np.std(part))) if part else None for part in parts]


def _window(name: str, site: Mapping[str, Any], steps: int) -> list[list[float]]:
    """The rows of the last tenth of the steps; of a validation, those of the last one, which may come after them."""
    if name.endswith(VALIDATION):
        last = max((int(step) for step in site["steps"] if int(step) <= steps + 1), default=None)
        return [site["steps"].get(str(last), site["steps"].get(last))] if last is not None else []
    first = steps - max(1, steps // LAST)
    return [row for step, row in site["steps"].items() if first < int(step) <= steps]


def _of_site(name: str, kind: str, site: Mapping[str, Any] | None, steps: int) -> Score:
    rows = _window(name, site, steps) if site else []
    worst = WORST_R2 if kind == "numbers" else 0.0
    if not site or not rows:
        return Score(worst, 0, 0.0)
    sums = np.sum(np.asarray(rows, float), axis=0)
    counts = np.array(list(site["labels"].values()) or [0], float)
    prior = float(counts.max() / max(counts.sum(), 1.0))
    if kind == "numbers":
        return Score(_r2(sums), int(sums[1]), 0.0)
    if kind == "F1":
        yes = _share_of_yes(site)
        hits = 2 * sums[2]
        return Score(float(hits / max(hits + sums[3] + sums[4], 1.0)), int(sums[1]), 2 * yes / (1 + yes))
    return Score(float(sums[0] / max(sums[1], 1.0)), int(sums[1]), prior)


def _r2(sums: Any) -> float:
    errors, count, total, squares = map(float, sums)
    variance = squares - total**2 / max(count, 1.0)
    value = 1 - errors / variance if variance > 0 and math.isfinite(errors) else WORST_R2
    return max(value, WORST_R2)


def _share_of_yes(site: Mapping[str, Any]) -> float:
    labels = {int(label): count for label, count in site["labels"].items()}
    return labels.get(1, 0) / max(1, sum(labels.values()))
