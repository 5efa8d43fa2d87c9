"""Ablation sweeps: change one thing of a target at a time, and compare with the noise between seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from firstfault import progress
from firstfault.ablation.compare import compare
from firstfault.ablation.study import MOST_SEEDS, Pair, Scored, SweepStudy, fingerprint
from firstfault.ablation.swap import swaps
from firstfault.ablation.trial import BASELINE, Arm, Bench, OnTrial
from firstfault.errors import FirstfaultError, Missing, TargetError, UserCodeError
from firstfault.finding import Layer, plain
from firstfault.prior import floor
from firstfault.state import state_for

FACTORS = (
    "standardised_inputs", "higher_rate", "lower_rate", "adam", "batches_of_32", "longer", "fitting_loss",
    "fresh_initialisation", "relu_for_saturating", "shuffled",
)
ENGINES = ("threads",)


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
    """The table of a sweep. `noise` is the half width of the band around the unchanged target's mean."""

    target: str
    metric: str
    study: str
    rows: tuple[SweepRow, ...]
    noise: float | None
    best: str

    @property
    def baseline(self) -> SweepRow:
        """The row of the unchanged target."""
        return self.rows[0]

    def to_json(self) -> dict[str, Any]:
        """This result as JSON values; `rows` is the table, `scores` has every seed's score by factor."""
        values = asdict(self)
        values["rows"] = self.table()
        values["scores"] = {row.factor: list(row.scores) for row in self.rows}
        return plain(values)  # type: ignore[no-any-return]

    def table(self) -> list[dict[str, Any]]:
        """One plain row per change, numbers rounded to 4 digits, nothing left as None."""
        names = ("change", "mean", "std", "difference", "p_value", "verdict", "seeds", "factor", "reason")
        return [{name: _cell(getattr(row, name)) for name in names} for row in self.rows]


def sweep(
    subject: Any,
    *,
    factors: Sequence[str] | None = None,
    seeds: int = 3,
    n_trials: int | None = None,
    storage: Any = None,
    study_name: str | None = None,
    on_trial: OnTrial | None = None,
    engine: str = "threads",
    jobs: int = 1,
) -> SweepResult:
    """Train the target, and the target with one change at a time, over the same seeds.

    A sweep that was killed goes on where it was when it is called again for the same target: trainings
    that have ended are not run again (nor handed to `on_trial`), one that was killed is.

    Args:
        subject: the target under examination.
        factors: names of swaps; left out, the ten of `FACTORS`.
        seeds: paired seeds per change, 2–32.
        n_trials: stop after this many trainings; all when left out.
        storage: an Optuna storage or its URL; left out, the journal in the state folder.
        study_name: left out, the target's name and a digest of its data, settings and source.
        on_trial: called after every training.
        engine: how trainings run side by side: "threads".
        jobs: how many run side by side. With more than one, they share torch's random generator: scores
            are then still comparable, but not the same in every run.

    Raises:
        TargetError: for an unknown factor, or a target that can't be trained.
        ValueError: for another bad argument.
    """
    _expect(seeds, jobs, n_trials, engine)
    names = _named(factors)
    try:
        bench = Bench(subject, seeds, on_trial)
    except (Missing, UserCodeError) as reason:
        raise TargetError(f"a sweep trains the target, but {reason}") from reason
    arms, skipped = _arms(subject, names)
    place = state_for(subject.target.root).journal if storage is None else storage
    name = study_name or f"{subject.target.name} · {fingerprint(subject)}"
    study = SweepStudy(place, name, tuple(swaps()), bench.seeds[0])
    wanted: list[Pair] = [(factor, seed) for seed in bench.seeds for factor in (BASELINE, *arms)]
    left = [pair for pair in wanted if pair not in study.ended()][:n_trials]
    study.run(left, _Measure(bench, arms, len(left)), jobs)
    rows = _rows(bench, arms, skipped, study.ended())
    noise = _noise(rows[0], bench)
    return SweepResult(subject.target.name, bench.metric, name, tuple(rows), noise, _best(rows))


class _Measure:
    """One training of a sweep: the unchanged target, or one arm of it."""

    def __init__(self, bench: Bench, arms: Mapping[str, Arm], total: int) -> None:
        self.bench, self.arms, self.total, self.begun = bench, arms, total, 0

    def __call__(self, factor: str, seed: int) -> Scored:
        self.begun += 1
        change = self.arms[factor].change if factor in self.arms else "unchanged"
        text = f"training {self.begun} of {self.total}: {change}, seed {seed}"
        progress.emit(progress.Step(Layer.TRAINING, text, (self.begun - 1) / self.total))
        if factor == BASELINE:
            run = self.bench.baseline(seed)
            return Scored(floor(self.bench.recipe, run.score), None, math.isfinite(run.score))
        arm = self.arms[factor]
        run = self.bench.run(arm, seed)
        before = None if self.bench.judges_alike(arm) else self.bench.before(arm, seed)
        return Scored(floor(arm.recipe, run.score), before, math.isfinite(run.score))


def _expect(seeds: int, jobs: int, n_trials: int | None, engine: str) -> None:
    if not 2 <= seeds <= MOST_SEEDS:
        raise ValueError(f"seeds must be 2 to {MOST_SEEDS}, but got {seeds}")
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, but got {jobs}")
    if n_trials is not None and n_trials < 1:
        raise ValueError(f"n_trials must be at least 1, but got {n_trials}")
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, but got {engine!r}")


def _named(factors: Sequence[str] | None) -> list[str]:
    names = list(dict.fromkeys(FACTORS if factors is None else factors))
    unknown = [name for name in names if name not in swaps() and name != BASELINE]
    if unknown:
        raise TargetError(f"factors must be among {', '.join(swaps())}, but got {', '.join(unknown)}")
    return [name for name in names if name != BASELINE]


def _arms(subject: Any, names: Sequence[str]) -> tuple[dict[str, Arm], dict[str, str]]:
    """The changes that apply, and why each of the others doesn't."""
    arms: dict[str, Arm] = {}
    skipped: dict[str, str] = {}
    for name in names:
        kind = swaps()[name]
        try:
            arms[name] = Arm(name, kind.change, kind.apply(subject), kind.same_validation)
        except (Missing, UserCodeError, FirstfaultError) as reason:
            skipped[name] = subject.masked(str(reason))
        except Exception as error:
            skipped[name] = subject.masked(f"it could not be applied: {type(error).__name__}: {error}")
    return arms, skipped


def _rows(
    bench: Bench, arms: Mapping[str, Arm], skipped: Mapping[str, str], ended: Mapping[Pair, Scored]
) -> list[SweepRow]:
    base = {seed: ended[BASELINE, seed] for seed in bench.seeds if (BASELINE, seed) in ended}
    scores = tuple(scored.score for scored in base.values())
    rows = [SweepRow(
        "unchanged", _mean(scores), _deviation(scores), None, None, BASELINE, len(scores), BASELINE,
        _failures(list(base.values())), scores,
    )]
    for name, arm in arms.items():
        own = {seed: ended[name, seed] for seed in bench.seeds if (name, seed) in ended and seed in base}
        held_out = len((arm if arm.same_validation else bench).recipe.validation)
        rows.append(_row(arm, base, own, bench.metric, held_out))
    for name, reason in skipped.items():
        rows.append(SweepRow(swaps()[name].change, None, None, None, None, "skipped", 0, name, reason))
    return rows


def _row(
    arm: Arm, base: Mapping[int, Scored], own: Mapping[int, Scored], metric: str, held_out: int
) -> SweepRow:
    after = [scored.score for scored in own.values()]
    before = [base[seed].score if scored.before is None else scored.before for seed, scored in own.items()]
    if len(after) < 2:
        mean, ended = _mean(after), len(after)
        return SweepRow(arm.change, mean, None, None, None, "pending", ended, arm.factor, "", tuple(after))
    up, down = compare(before, after, metric, held_out), compare(after, before, metric, held_out)
    finite = all(scored.finite for scored in own.values())
    verdict = "better" if up.better and finite else "worse" if down.better else "within noise"
    p_value = up.p_value if up.gain >= 0 else down.p_value
    return SweepRow(
        arm.change, up.after, _deviation(after), up.gain, p_value, verdict, len(after), arm.factor,
        _failures(list(own.values())), tuple(after),
    )


def _failures(runs: Sequence[Scored]) -> str:
    failed = sum(not scored.finite for scored in runs)
    return f"{failed} of {len(runs)} trainings failed, and count as guessing" if failed else ""


def _noise(base: SweepRow, bench: Bench) -> float | None:
    if base.std is None:
        return None
    return compare(base.scores, base.scores, bench.metric, len(bench.recipe.validation)).noise


def _best(rows: Sequence[SweepRow]) -> str:
    better = [row for row in rows if row.verdict == "better"]
    return max(better, key=lambda row: row.difference or 0.0).change if better else rows[0].change


def _mean(scores: Sequence[float]) -> float | None:
    return statistics.fmean(scores) if scores else None


def _deviation(scores: Sequence[float]) -> float | None:
    return statistics.stdev(scores) if len(scores) > 1 else None


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return round(value, 4) if isinstance(value, float) else value

