"""A tuned search: Optuna's TPE proposes settings, its median pruner gives up on the ones that lag behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from firstfault.ablation.sweeps.job import Job, SweepTrial
from firstfault.ablation.sweeps.space import Space, Values, words
from firstfault.ablation.sweeps.study import SweepStudy

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


LEAST_RANDOM, MOST_RANDOM = 4, 10
"""Of the random trials before TPE proposes any; the most is Optuna's own default."""
UNPRUNED, UNPRUNED_EPOCHS = 4, 3
"""Trainings that are never given up, so that a median is of four; and the epoch at which pruning begins."""


def sampler(trials: int, seed: int, ended: int = 0) -> BaseSampler:
    """TPE, seeded; the first quarter of the trials is random.

    A resumed search draws other random numbers than its beginning did.

    Source: Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization.
    """
    import optuna

    return optuna.samplers.TPESampler(
        n_startup_trials=min(MOST_RANDOM, max(LEAST_RANDOM, trials // 4)),
        seed=(seed + ended) % 2**32,
        constant_liar=True,
    )


def pruner() -> BasePruner:
    """Gives a training up whose best epoch so far is below the median of the others at that epoch.

    Never the first four trainings, nor the first two epochs.

    Source: Golovin et al. 2017, Google Vizier (median stopping).
    """
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=UNPRUNED_EPOCHS)


class Search:
    """Proposes up to `trials` settings of a space, the target's own first, all trained with one seed."""

    def __init__(self, study: SweepStudy, space: Space, trials: int, seed: int) -> None:
        self.study, self.space, self.seed = study, space, seed
        known = study.trials()
        self.left = max(0, trials - len(known))
        self._own_first = not known and space.holds(space.own)

    def ask(self) -> Job | None:
        """The next job; settings that have been tried before are told at once, and not trained again."""
        while self.left:
            self.left -= 1
            job = self._next()
            before = next((found for found in self.study.measured() if found[0].values == job.values), None)
            if before is None:
                return job
            self.study.tell(job, before[1])
        return None

    def _next(self) -> Job:
        distributions = self.space.distributions()
        if not self._own_first:
            return self.study.ask(distributions, self._job)
        self._own_first = False
        return self.study.give(self._job(self.space.own), self.space.own, distributions)

    def _job(self, values: Values) -> Job:
        return Job(0, key(values), words(values), self.seed, dict(values), 0)


def best(trials: list[SweepTrial]) -> SweepTrial | None:
    """The best training that was neither pruned nor failed; of equals, the first."""
    whole = [trial for trial in trials if trial.state == "complete"]
    return max(whole, key=lambda trial: trial.score) if whole else None


def key(values: Values) -> str:
    """The factor that stands for some values: a text that no other values have."""
    return json.dumps(dict(values), sort_keys=True)
