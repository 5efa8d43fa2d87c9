"""The Optuna studies behind sweeps: which trainings of which sweep are done, which were killed, and which are left."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from firstfault.ablation.sweeps.job import Job, Measured, OnEpoch, SweepTrial
from firstfault.ablation.sweeps.space import Values
from firstfault.ablation.sweeps.storage import Place, be_quiet, failing_in_a_sentence, opened
from firstfault.values import Json

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial as OptunaTrial


MOST_SEEDS = 32
"""The mean of so many seeds errs by less than a fifth of their deviation; more buy little."""
Pair = tuple[str, int]


class SweepStudy:
    """Trainings by factor and seed, each kept as a trial as soon as it has ended.

    Args:
        place: where the study is kept.
        name: of the study; one with the same name is continued.
        plan: what the study is of, as JSON values; kept with it.
        sampler: of the values of a search; left out, only given values are run.
        pruner: of a search.

    Raises:
        FirstfaultError: when the storage can't be read or written.
    """

    def __init__(
        self,
        place: Place,
        name: str,
        plan: Json | None = None,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
    ) -> None:
        import optuna

        be_quiet()
        self.place, self.name = place, name
        self._running: dict[int, OptunaTrial] = {}
        with failing_in_a_sentence(place):
            self.study = optuna.create_study(
                storage=opened(place),
                study_name=name,
                load_if_exists=True,
                direction="maximize",
                sampler=sampler or optuna.samplers.RandomSampler(seed=0),
                pruner=pruner or optuna.pruners.NopPruner(),
            )
            if plan is not None and self.plan is None:
                self.study.set_user_attr("plan", dict(plan))
                self.study.set_user_attr("begun", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
            self._bury_killed()

    @property
    def plan(self) -> Json | None:
        """What the study was begun for."""
        return self.study.user_attrs.get("plan")

    @property
    def finished(self) -> bool:
        """Whether every training that was wanted has ended."""
        return bool(self.study.user_attrs.get("finished"))

    def finish(self, whole: bool) -> None:
        """Note whether every training that was wanted has ended."""
        self.study.set_user_attr("finished", whole)

    def trials(self) -> list[SweepTrial]:
        """The trainings that have ended, in the order in which they began."""
        return [SweepTrial.of(job, measured) for job, measured in self.measured()]

    def ended(self) -> dict[Pair, Measured]:
        """What has ended, by factor and seed; of two for one pair, the first."""
        found: dict[Pair, Measured] = {}
        for job, measured in self.measured():
            found.setdefault((job.factor, job.seed), measured)
        return found

    def give(self, job: Job, params: Values, distributions: Mapping[str, BaseDistribution]) -> Job:
        """Begin a trial of given parameters; the job with its number."""
        attributes = _identity(job)
        with failing_in_a_sentence(self.place):
            self.study.enqueue_trial(dict(params), user_attrs=attributes)
            while True:
                trial = self.study.ask(dict(distributions))
                if all(trial.user_attrs.get(name) == value for name, value in attributes.items()):
                    return self._begun(trial, job)
                self._drop(trial.number)  # what a killed sweep had enqueued

    def ask(self, distributions: Mapping[str, BaseDistribution], job_of: Callable[[Values], Job]) -> Job:
        """Begin a trial of values that the sampler chooses."""
        with failing_in_a_sentence(self.place):
            trial = self.study.ask(dict(distributions))
            job = job_of(trial.params)
            for name, value in _identity(job).items():
                trial.set_user_attr(name, value)
            return self._begun(trial, job)

    def tell(self, job: Job, measured: Measured) -> None:
        """Keep what a job gave."""
        import optuna

        state = optuna.trial.TrialState.PRUNED if measured.pruned else optuna.trial.TrialState.COMPLETE
        with failing_in_a_sentence(self.place):
            self._running.pop(job.number).set_user_attr("measured", asdict(measured))
            self.study.tell(job.number, None if measured.pruned else measured.score, state)

    def _begun(self, trial: OptunaTrial, job: Job) -> Job:
        trial.set_user_attr("owner", _owner())
        self._running[trial.number] = trial
        return replace(job, number=trial.number, trial_id=trial._trial_id if job.trial_id is not None else None)

    def _drop(self, number: int) -> None:
        import optuna

        self.study.tell(number, state=optuna.trial.TrialState.FAIL)

    def measured(self) -> Iterator[tuple[Job, Measured]]:
        """The jobs that have ended, with what they gave, in the order in which they began."""
        import optuna

        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        for trial in self.study.get_trials(deepcopy=False, states=states):
            known = trial.user_attrs
            if "measured" in known:
                values = known["measured"]
                job = Job(trial.number, known["factor"], known["change"], known["seed"], known["values"])
                yield job, Measured(**{**values, "epochs": tuple(values["epochs"])})

    def _bury_killed(self) -> None:
        import optuna

        for trial in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            owner = trial.user_attrs.get("owner")
            if owner is not None and not _lives(owner):
                self._drop(trial.number)


def _identity(job: Job) -> Json:
    return {
        "factor": job.factor,
        "change": job.change,
        "seed": job.seed,
        "values": dict(job.values) if job.values is not None else None,
    }


def earlier(place: Place, prefix: str) -> list[str]:
    """The names of the studies in a storage: those of a prefix and a number, in the order of their numbers.

    All, for an empty prefix.

    Raises:
        FirstfaultError: when the storage can't be read.
    """
    import optuna

    be_quiet()
    with failing_in_a_sentence(place):
        names: list[str] = optuna.get_all_study_names(opened(place))
    if not prefix:
        return names
    found = [name for name in names if name.startswith(prefix) and name.removeprefix(prefix).isdigit()]
    return sorted(found, key=lambda name: int(name.removeprefix(prefix)))


def follower(place: Place, name: str, pruner: BasePruner) -> Callable[[int], OnEpoch]:
    """For a trial of a study in any process: reports the score of an epoch, and says whether to give the trial up."""
    import optuna

    be_quiet()
    study = optuna.load_study(
        storage=opened(place), study_name=name, sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner
    )

    def follow(trial_id: int) -> OnEpoch:
        trial = optuna.trial.Trial(study, trial_id)

        def on_epoch(number: int, score: float) -> bool:
            trial.report(score, number)
            return trial.should_prune()

        return on_epoch

    return follow


def _owner() -> list[str | int | float]:
    import psutil

    return [socket.gethostname(), os.getpid(), psutil.Process().create_time()]


def _lives(owner: tuple[str, int, float]) -> bool:
    """Whether the process of a trial still runs; one on another host is taken to."""
    import psutil

    host, pid, born = owner
    if host != socket.gethostname():
        return True
    try:
        return bool(abs(psutil.Process(pid).create_time() - born) < 1.0)
    except psutil.Error:
        return False
