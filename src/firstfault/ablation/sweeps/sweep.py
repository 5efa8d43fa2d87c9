"""Ablation sweeps: one change of a target at a time, a grid, or a tuned search, against the noise between seeds."""

from __future__ import annotations

from collections.abc import Sequence

from firstfault.ablation.confirm.trials import OnTrial
from firstfault.ablation.sweeps.engine import Origin
from firstfault.ablation.sweeps.engines import ENGINES, engine_of
from firstfault.ablation.sweeps.fingerprint import fingerprint
from firstfault.ablation.sweeps.job import Measuring, digest
from firstfault.ablation.sweeps.plan import FACTORS as FACTORS
from firstfault.ablation.sweeps.plan import Plan
from firstfault.ablation.sweeps.results import SweepResult as SweepResult
from firstfault.ablation.sweeps.results import SweepRow as SweepRow
from firstfault.ablation.sweeps.resuming import new_study, resumed
from firstfault.ablation.sweeps.storage import Place, usual_place
from firstfault.ablation.sweeps.strategies import Compared, Searched
from firstfault.check import NO_STEPS
from firstfault.errors import Missing, TargetError, UserCodeError
from firstfault.runs.ref import RunRef
from firstfault.runs.state import state_here
from firstfault.subject.subject import Subject


def sweep(
    subject: Subject,
    *,
    factors: Sequence[str] | None = None,
    grid: str | Sequence[str] | None = None,
    tune: str | Sequence[str] | None = None,
    seeds: int | None = None,
    n_trials: int | None = None,
    storage: Place = None,
    study_name: str | None = None,
    on_trial: OnTrial | None = None,
    engine: str | None = None,
    jobs: int = 1,
    resume: bool = False,
    origin: RunRef | None = None,
) -> SweepResult:
    """Train the target, and the target with something changed, over the same seeds.

    Every training is a trial of an Optuna study.

    The changes are known-good replacements (`factors`), every combination of some values (`grid`), or what a search
    finds best (`tune`): its settings are tried with the target's seed, and the best of them is compared over seeds that
    the search has not seen.

    Args:
        subject: the target under examination.
        factors: names of swaps; left out, the ten of `FACTORS`.
        grid: `"lr=0.001,0.01;batch_size=16,64"`, in one text or several; see `firstfault.ablation.sweeps.space`.
        tune: `"lr=1e-4..1e-1;batch_size=16,64"`: ranges or values.
        seeds: paired seeds per change, 2–32; 3 when left out.
        n_trials: stop after this many trainings, all when left out; in a search, how many settings are tried, 20 when
        left out.
        storage: the path of a journal, an Optuna storage or its URL; left out, FIRSTFAULT_OPTUNA_STORAGE or the state
        folder's journal.
        study_name: left out, the target's name, a digest of its data, settings and source, and a number.
        on_trial: called after every training, with a `SweepTrial`.
        engine: "threads", "processes" or "ray"; left out, processes for more than one job where `origin` is given.
            Threads share torch's random generator: with more than one, scores are not the same in every run.
        jobs: how many trainings run side by side.
        resume: go on with the last sweep of this very target: trainings that have ended are not run again (nor handed
            to `on_trial`), one that was killed is. Without a mode, it is the last sweep of any, with its settings.
        origin: for processes and Ray, the run by which they load the target.

    Raises:
        TargetError: for an unknown factor, a bad grid, a target that can't be trained, or nothing to resume.
        ValueError: for another bad argument.
    """
    chosen = engine or ("processes" if jobs > 1 and origin is not None else "threads")
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, but got {jobs}")
    if chosen not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, but got {engine!r}")
    plan = Plan.of(factors, grid, tune, seeds, n_trials)
    place = usual_place(state_here().journal) if storage is None else storage
    if not subject.target.by_gradients:
        raise TargetError(f"a sweep varies the settings of a training by steps, but {NO_STEPS}")
    try:
        measuring = Measuring(subject)
        prefix = f"{subject.target.name} · {fingerprint(subject)} · "
        if resume:
            any_mode = not (factors or grid or tune)
            name, plan = resumed(place, prefix, plan, study_name, any_mode=any_mode, seeds=seeds, trials=n_trials)
        else:
            name = new_study(place, prefix, study_name)
        kind = Searched if plan.mode == "tune" else Compared
        ablation = kind(measuring, plan, place, name, prefix, on_trial)
    except (Missing, UserCodeError) as reason:
        raise TargetError(f"a sweep trains the target, but {reason}") from reason
    where = (
        None
        if origin is None
        else Origin(origin, digest(measuring.bench.recipe), place, name if plan.mode == "tune" else "")
    )
    with engine_of(chosen, jobs, measuring, where) as crew:
        return ablation.run(crew)
