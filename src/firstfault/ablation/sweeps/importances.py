"""How much of the variance of a sweep's scores each varied setting explains; the share of the seed is the noise."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from firstfault.ablation.sweeps.job import SweepTrial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


SEED = "seed"
LEAST_TRIALS = 4
"""Three trials may be the seeds of one arm, whose scores vary by nothing else."""


def analysed(trials: Sequence[SweepTrial], distributions: Mapping[str, BaseDistribution]) -> Study:
    """An Optuna study in memory of the trainings, with what was varied and the seed as parameters.

    Without `distributions`, the change is the only parameter. The seed is left out where it never changes.
    """
    import optuna

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    space = dict(distributions) or {"change": _categories(trial.change for trial in trials)}
    if len({trial.seed for trial in trials}) > 1:
        space[SEED] = _categories(trial.seed for trial in trials)
    for trial in trials:
        study.add_trial(_frozen(trial, space))
    return study


def _categories(values: Iterable[str | int]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    return CategoricalDistribution(list(dict.fromkeys(values)))


def _frozen(trial: SweepTrial, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    values = {**trial.values, "change": trial.change, SEED: trial.seed}
    state = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}[trial.state]
    return create_trial(
        state=state,
        value=trial.score if trial.state != "failed" else None,
        params={name: values[name] for name in space},
        distributions=dict(space),
    )


def importances_of(study: Study) -> dict[str, float]:
    """Each parameter's share of the variance of the scores, the largest first.

    It is empty where too little has ended, or nothing varies.

    Source: Hutter et al. 2014, An Efficient Approach for Assessing Hyperparameter Importance (fANOVA).
    """
    import optuna

    whole = [trial.value for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))]
    if len(whole) < LEAST_TRIALS or max(whole) == min(whole):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
    return {name: float(share) for name, share in found.items()}
