"""The two ways to sweep: compare given changes over paired seeds, or search for settings and compare the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from firstfault.ablation.confirm.trials import BASELINE, OnTrial
from firstfault.ablation.swap import swaps
from firstfault.ablation.sweeps import search
from firstfault.ablation.sweeps.engine import Engine
from firstfault.ablation.sweeps.engines import drive
from firstfault.ablation.sweeps.importances import analysed, importances_of
from firstfault.ablation.sweeps.job import Job, Measured, Measuring, SweepTrial, failed
from firstfault.ablation.sweeps.plan import Plan
from firstfault.ablation.sweeps.progress import Steps
from firstfault.ablation.sweeps.results import Change, SweepResult, SweepRow, best_of, noise_of, rows_of
from firstfault.ablation.sweeps.space import Space, Values, words
from firstfault.ablation.sweeps.storage import Place
from firstfault.ablation.sweeps.study import MOST_SEEDS, SweepStudy, follower
from firstfault.errors import FirstfaultError, Missing, UserCodeError, told
from firstfault.interrupts import pass_on
from firstfault.metrics import metric_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


COMPARED = " · compared"


class _Mode:
    """A sweep of one subject, in one study or two."""

    def __init__(
        self, measuring: Measuring, plan: Plan, place: Place, name: str, target: str, on_trial: OnTrial | None = None
    ) -> None:
        self.measuring, self.plan, self.place, self.name, self.on_trial = measuring, plan, place, name, on_trial
        self.subject, self.recipe = measuring.subject, measuring.bench.recipe
        self.metric = metric_of(self.recipe.task, self.recipe.training.metric)[0]
        self.first_seed = self.recipe.training.seed
        self.space = Space(plan.settings, self.subject)
        self.study = SweepStudy(place, name, {**plan.to_json(), "target": target})

    def _drive(self, crew: Engine, study: SweepStudy, ask: Callable[[], Job | None], steps: Steps) -> None:
        def begin() -> Job | None:
            job = ask()
            if job is not None:
                steps.begin(job)
            return job

        def end(job: Job, measured: Measured | None) -> None:
            measured = measured or failed(self.recipe)
            study.tell(job, measured)
            trial = SweepTrial.of(job, measured)
            steps.end(trial)
            if self.on_trial is not None:
                self.on_trial(trial)

        drive(crew, begin, end)

    def _paired(self, crew: Engine, study: SweepStudy, wanted: Sequence[Job], steps: Steps) -> None:
        """Do the given jobs, in their order."""
        left = iter(wanted)

        def ask() -> Job | None:
            job = next(left, None)
            return None if job is None else study.give(job, *self._parameters(job))

        self._drive(crew, study, ask, steps)

    def _parameters(self, job: Job) -> tuple[dict[str, object], dict[str, BaseDistribution]]:
        """A job's parameters in the study, and their distributions."""
        from optuna.distributions import IntDistribution

        return {"seed": job.seed}, {"seed": IntDistribution(self.first_seed, self.first_seed + MOST_SEEDS)}

    def _result(
        self, changes: Sequence[Change], skipped: Sequence[SweepRow], study: SweepStudy, seeds: Sequence[int], left: int
    ) -> SweepResult:
        self.study.finish(left == 0)
        rows = rows_of(changes, study.ended(), seeds, self.metric, skipped)
        searched, distributions = self.study.trials(), self.space.distributions()
        compared = study.trials() if study is not self.study else []
        return SweepResult(
            self.subject.target.name,
            self.metric,
            self.name,
            tuple(rows),
            noise_of(rows[0], self.metric, len(self.recipe.validation)),
            best_of(rows),
            self.plan.mode,
            tuple(searched),
            tuple(compared),
            left,
            importances_of(analysed(searched, distributions)),
            distributions,
        )


class Compared(_Mode):
    """Given changes, or the points of a grid, each over the same seeds as the unchanged target."""

    def run(self, crew: Engine) -> SweepResult:
        """Train what is left to be trained, up to the limit, and make the table."""
        changes, skipped = self._changes()
        seeds = [self.first_seed + number for number in range(self.plan.seeds)]
        ended = self.study.ended()
        unchanged = Job(0, BASELINE, "unchanged", 0, self.space.own or None)
        jobs = [unchanged, *(job for job, _ in changes)]
        wanted = [_seeded(job, seed) for seed in seeds for job in jobs if (job.factor, seed) not in ended]
        now = wanted[: self.plan.trials]
        self._paired(crew, self.study, now, Steps(len(now), self.metric))
        return self._result([change for _, change in changes], skipped, self.study, seeds, len(wanted) - len(now))

    def _changes(self) -> tuple[list[tuple[Job, Change]], list[SweepRow]]:
        if self.plan.mode == "factors":
            return self._swapped()
        held_out = len(self.recipe.validation)
        points = [(search.key(point), words(point), point) for point in self.space.points()]
        return [(Job(0, factor, text, 0, point), Change(factor, text, held_out)) for factor, text, point in points], []

    def _swapped(self) -> tuple[list[tuple[Job, Change]], list[SweepRow]]:
        """The swaps that apply, and why each of the others doesn't."""
        found: list[tuple[Job, Change]] = []
        skipped: list[SweepRow] = []
        for name in self.plan.factors:
            kind = swaps()[name]
            try:
                recipe = self.measuring.arm(Job(0, name, kind.change, 0)).recipe
            except (Missing, UserCodeError, FirstfaultError) as known:
                skipped.append(_skipped(name, self.subject.masked(str(known))))
            except BaseException as error:
                pass_on(error)
                skipped.append(_skipped(name, self.subject.masked(f"it could not be applied: {told(error)}")))
            else:
                judged = recipe if kind.same_validation else self.recipe
                found.append((Job(0, name, kind.change, 0), Change(name, kind.change, len(judged.validation))))
        return found, skipped

    def _parameters(self, job: Job) -> tuple[dict[str, object], dict[str, BaseDistribution]]:
        from optuna.distributions import CategoricalDistribution

        own, distributions = super()._parameters(job)
        if self.plan.mode == "grid":
            return {**(job.values or {}), **own}, {**self.space.distributions(), **distributions}
        factors = CategoricalDistribution([BASELINE, *sorted(swaps())])
        return {"factor": job.factor, **own}, {"factor": factors, **distributions}


class Searched(_Mode):
    """A search with the target's own seed, then the best settings against the target's own over seeds that the search
    has not seen.
    """

    def run(self, crew: Engine) -> SweepResult:
        """Search up to the limit, compare, and make the table."""
        trials = self.plan.trials or 1
        ended = len(self.study.trials())
        self.study.study.sampler = search.sampler(trials, self.first_seed, ended)
        self.measuring.follow = follower(self.place, self.name, search.pruner())
        steps = Steps(max(0, trials - ended) + 2 * self.plan.seeds, self.metric)
        looking = search.Search(self.study, self.space, trials, self.first_seed)
        self._drive(crew, self.study, looking.ask, steps)
        found = search.best(self.study.trials())
        values = dict(found.values) if found is not None else self.space.own
        return self._against(crew, values, steps)

    def _against(self, crew: Engine, values: Values, steps: Steps) -> SweepResult:
        study = SweepStudy(self.place, self.name + COMPARED)
        seeds = [self.first_seed + 1 + number for number in range(self.plan.seeds)]
        jobs = [Job(0, BASELINE, "unchanged", 0, self.space.own)]
        changes = []
        if dict(values) != self.space.own:
            factor, text = search.key(values), f"best found: {words(values)}"
            jobs.append(Job(0, factor, text, 0, dict(values)))
            changes.append(Change(factor, text, len(self.recipe.validation)))
        ended = study.ended()
        wanted = [_seeded(job, seed) for seed in seeds for job in jobs if (job.factor, seed) not in ended]
        steps.total = steps.begun + len(wanted)
        self._paired(crew, study, wanted, steps)
        return self._result(changes, [], study, seeds, 0)


def _skipped(factor: str, reason: str) -> SweepRow:
    return SweepRow(swaps()[factor].change, None, None, None, None, "skipped", 0, factor, reason)


def _seeded(job: Job, seed: int) -> Job:
    return replace(job, seed=seed)
