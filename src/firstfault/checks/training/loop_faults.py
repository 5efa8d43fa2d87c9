"""Faults of the training loop itself, seen in the order of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.training.made_up import Answers, answers
from firstfault.finding import Layer, Status
from firstfault.metrics import METRICS, metric_of

COUNTING = ("accuracy", "balanced_accuracy", "f1", "auc", "label_accuracy")
SHARPNESS = 8.0


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"user_code_raises": 1.0})
def training_crash(subject: Any) -> Iterator[Judgement]:
    """Find a training that ended in an exception."""
    crash = subject.trained.crash
    if crash is None:
        yield passed("the training ran to its end")
        return
    yield Judgement(Status.FAIL, str(crash), where=crash.frame or "training", fix="make the training run; the exception is above")


@check(layer=Layer.TRAINING, needs={"record"}, detects={"missing_zero_grad": 0.95})
def missing_zero_grad(subject: Any, *, stale_share: float = 0.5) -> Iterator[Judgement]:
    """Find loops in which gradients from before an optimizer step are still there at the next backward.

    `value` is the share of optimizer steps whose gradients were never cleared since the step before.
    Accumulating gradients between two optimizer steps is no fault.

    Source: Humbatova et al. 2020, taxonomy of real faults, missing zero_grad.
    """
    record = subject.record
    if record.steps < 3:
        yield skipped("fewer than 3 optimizer steps were seen")
        return
    share = record.stale_steps / max(1, record.steps - 1)
    yield judge(
        share, above=stale_share, where="training loop",
        message=f"{share:.0%} of the steps start from gradients that the step before has already used",
        fix="call optimizer.zero_grad() before loss.backward()",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"missing_eval_mode": 0.9})
def missing_eval_mode(subject: Any) -> Iterator[Judgement]:
    """Find validation that runs while dropout or batch normalisation are in train mode.

    `value` is the share of no-grad forward passes with such a module in train mode.

    Source: TrainCheck (Jiang et al. 2025), invariant on module.training during evaluation.
    """
    record = subject.record
    if record.validation_batches == 0:
        yield skipped("no forward pass without gradients, through a model with dropout or batch statistics, was seen")
        return
    share = record.validated_in_train_mode / record.validation_batches
    yield judge(
        share, above=0.5, where="validation loop",
        message=f"{share:.0%} of the validation batches ran in train mode",
        fix="call model.eval() before validation, and model.train() after it",
    )


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"validation_contamination": 0.95})
def validation_contamination(subject: Any, *, share: float = 0.02) -> Iterator[Judgement]:
    """Find loops that train on the validation split; `value` is the share of optimizer steps made on its batches.

    Source: Kapoor & Narayanan 2023, no clean separation of training and test data.
    """
    record = subject.trained.record
    if subject.target.training.fit is None or record is None or record.steps == 0:
        yield skipped("firstfault's own loop never trains on validation")
        return
    value = record.steps_on_validation / record.steps
    yield judge(
        value, above=share, where="training.fit", message=f"{record.steps_on_validation} of {record.steps} steps learn from validation batches",
        fix="step on batches of the training loader only",
    )


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"metric_mismatch": 0.95})
def metric_mismatch(subject: Any) -> Iterator[Judgement]:
    """Find a metric that does not fit the task: one for classes on numbers, or one that does not prefer right answers.

    A metric of the user's own is asked for the score of right outputs and of a constant answer; `value` is the difference.

    Source: FAULTS of this project: accuracy on a regression, arg max of one column.
    """
    recipe = subject.recipe
    name, metric = metric_of(recipe.task, recipe.training.metric)
    if recipe.task == "regression" and name in COUNTING:
        yield Judgement(Status.FAIL, f"{name} counts classes, but the task is a regression", where="training.metric",
                        fix="use r2, mse or mae")
        return
    made = answers(subject) if name not in METRICS else None
    if made is None:
        yield passed(f"{name} fits the task") if name in METRICS else skipped("there are no made-up outputs to ask the metric about")
        return
    try:
        value = _score(metric, made.right, made, recipe.task) - _score(metric, made.constant, made, recipe.task)
    except Exception as error:
        yield skipped(f"the metric takes no made-up outputs ({type(error).__name__})")
        return
    yield judge(
        value, below=1e-9, where="training.metric", message=f"{name} gives right answers {value:+.3g} more than a constant one",
        fix="compute the metric on outputs and labels of the same samples; higher must be better",
    )


def _score(metric: Any, outputs: Any, made: Answers, task: str) -> float:
    """The metric of made-up outputs; those of classes as logits, whose halfway is 0."""
    logits = outputs if task == "regression" else (outputs - 0.5) * SHARPNESS
    return float(metric(logits.numpy().copy(), made.y.numpy()))


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"parameters_not_in_optimizer": 0.95})
def parameters_not_in_optimizer(subject: Any) -> Iterator[Judgement]:
    """Find trainable parameters that no optimizer holds, though they receive gradients.

    Source: TheDeepChecker (Braiek & Khomh 2023), untrained parameters.
    """
    record = subject.trained.record
    if record is None or not record.in_optimizer:
        yield skipped("no optimizer step was seen")
        return
    trainable = {name for name, value in subject.trained.model.named_parameters() if value.requires_grad}
    out = [name for name, held in record.in_optimizer.items() if not held and name in trainable and record.had_gradient.get(name)]
    if not out:
        yield passed(f"the optimizer holds all {len(record.in_optimizer)} parameters")
        return
    yield Judgement(
        Status.FAIL, f"{len(out)} of {len(record.in_optimizer)} parameters receive gradients, but are in no optimizer",
        value=len(out), threshold=0, where=", ".join(out[:5]), fix="pass model.parameters() of the model that is trained",
    )
