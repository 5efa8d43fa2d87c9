"""The table of a sweep: every change over the seeds against the unchanged target, and the noise between seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from firstfault.ablation.compare import compare
from firstfault.ablation.confirm.trials import BASELINE
from firstfault.ablation.sweeps.job import Measured, SweepTrial
from firstfault.ablation.sweeps.study import Pair
from firstfault.finding import plain
from firstfault.values import Json, Row

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class SweepRow:
    """One change: its scores over the seeds against those of the unchanged target.

    `p_value` is that of a one-sided paired t-test in the direction of the difference. `verdict` is
    baseline, better, worse, within noise, pending (fewer than 2 seeds have ended) or skipped.
    """

    change: str
    mean: float | None
    std: float | None
    difference: float | None
    p_value: float | None
    verdict: str
    seeds: int
    factor: str
    reason: str = ""
    scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class SweepResult:
    """The table of a sweep, and its trainings.

    `noise` is the half width of the band around the unchanged target's mean.

    `mode` is factors, grid or tune; `left` is how many trainings are still to be done; `importances` are each varied
    thing's share of what the scores vary by, the seed's among them. `compared` are the trainings of a search's
    comparison; `searched` are all others, with the Optuna `distributions` of what they vary.
    """

    target: str
    metric: str
    study: str
    rows: tuple[SweepRow, ...]
    noise: float | None
    best: str
    mode: str = "factors"
    searched: tuple[SweepTrial, ...] = ()
    compared: tuple[SweepTrial, ...] = ()
    left: int = 0
    importances: Mapping[str, float] = field(default_factory=dict)
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict, repr=False)

    @property
    def trials(self) -> tuple[SweepTrial, ...]:
        """Every training that has ended."""
        return self.searched + self.compared

    @property
    def baseline(self) -> SweepRow:
        """The row of the unchanged target."""
        return self.rows[0]

    def to_json(self) -> Json:
        """This result as JSON values; `rows` is the table, `scores` has every seed's score by factor."""
        values = asdict(replace(self, distributions={}))
        del values["distributions"]
        values["rows"] = self.table()
        values["scores"] = {row.factor: list(row.scores) for row in self.rows}
        return plain(values)

    def table(self) -> list[Row]:
        """One plain row per change, numbers rounded to 4 digits, nothing left as None."""
        names = ("change", "mean", "std", "difference", "p_value", "verdict", "seeds", "factor", "reason")
        return [{name: _cell(getattr(row, name)) for name in names} for row in self.rows]

    def trial_table(self) -> list[Row]:
        """One plain row per training."""
        return [
            {
                "trial": trial.number,
                "change": trial.change,
                "seed": trial.seed,
                "state": trial.state,
                "score": _cell(trial.score if trial.state != "failed" else None),
                "epochs": len(trial.epochs) or "",
                "seconds": round(trial.seconds, 2),
            }
            for trial in self.trials
        ]


@dataclass(frozen=True)
class Change:
    """A row to be: the change in words, its factor, and how many validation rows it is judged on."""

    factor: str
    change: str
    held_out: int


def rows_of(
    changes: Sequence[Change],
    ended: Mapping[Pair, Measured],
    seeds: Sequence[int],
    metric: str,
    skipped: Sequence[SweepRow] = (),
) -> list[SweepRow]:
    """The rows of a table: the unchanged target, every change, what was skipped."""
    base = {seed: ended[BASELINE, seed] for seed in seeds if (BASELINE, seed) in ended}
    scores = tuple(measured.score for measured in base.values())
    first = SweepRow(
        "unchanged",
        _mean(scores),
        _deviation(scores),
        None,
        None,
        BASELINE,
        len(scores),
        BASELINE,
        _failures(list(base.values())),
        scores,
    )
    rows = []
    for change in changes:
        own = {seed: ended[change.factor, seed] for seed in seeds if (change.factor, seed) in ended and seed in base}
        rows.append(_row(change, base, own, metric))
    return [first, *rows, *skipped]


def _row(change: Change, base: Mapping[int, Measured], own: Mapping[int, Measured], metric: str) -> SweepRow:
    after = [measured.score for measured in own.values()]
    before = [base[seed].score if measured.before is None else measured.before for seed, measured in own.items()]
    if len(after) < 2:
        return SweepRow(
            change.change, _mean(after), None, None, None, "pending", len(after), change.factor, "", tuple(after)
        )
    up, down = compare(before, after, metric, change.held_out), compare(after, before, metric, change.held_out)
    finite = all(measured.finite for measured in own.values())
    verdict = "better" if up.better and finite else "worse" if down.better else "within noise"
    p_value = up.p_value if up.gain >= 0 else down.p_value
    return SweepRow(
        change.change,
        up.after,
        _deviation(after),
        up.gain,
        p_value,
        verdict,
        len(after),
        change.factor,
        _failures(list(own.values())),
        tuple(after),
    )


def _failures(runs: Sequence[Measured]) -> str:
    failed = sum(not measured.finite for measured in runs)
    return f"{failed} of {len(runs)} trainings failed, and count as guessing" if failed else ""


def noise_of(base: SweepRow, metric: str, held_out: int) -> float | None:
    """The half width of the band around the unchanged target's mean; None before two seeds have ended."""
    return None if base.std is None else compare(base.scores, base.scores, metric, held_out).noise


def best_of(rows: Sequence[SweepRow]) -> str:
    """The change that gains most of those that are better; the unchanged target where none is."""
    better = [row for row in rows if row.verdict == "better"]
    return max(better, key=lambda row: row.difference or 0.0).change if better else rows[0].change


def _mean(scores: Sequence[float]) -> float | None:
    return statistics.fmean(scores) if scores else None


def _deviation(scores: Sequence[float]) -> float | None:
    return statistics.stdev(scores) if len(scores) > 1 else None


def _cell(value: object) -> object:
    if value is None:
        return ""
    return round(value, 4) if isinstance(value, float) else value
