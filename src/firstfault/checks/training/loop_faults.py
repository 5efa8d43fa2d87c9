"""Faults of the training loop itself, seen in the order of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.training._synthetic_outputs import Answers, answers
from firstfault.finding import Layer, Status
from firstfault.metrics import METRICS, metric_of
from firstfault.place import Place
from firstfault.probe.record import Record
from firstfault.subject.captured import seen_models
from firstfault.subject.model_inputs import is_as_drawn
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Recipe

COUNTING = ("accuracy", "balanced_accuracy", "f1", "auc", "label_accuracy")
SHARPNESS = 8.0  # turns 0.05 and 0.95 into logits of ±3.6, which sigmoid turns back into 0.03 and 0.97


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"user_code_raises": 1.0}, gradients=False)
def training_crash(subject: Subject) -> Iterator[Judgement]:
    """Find a training that ended in an exception.

    Measures: whether the training raised; the place is the line of the target's code that did.
    Fails when: it did.
    Source: an exception is proof by itself, so that no bound is needed.
    """
    crash = subject.trained.crash
    if crash is None:
        yield passed("the training ran to its end")
        return
    yield Judgement(
        Status.FAIL,
        str(crash),
        where=crash.frame or Place.part("training"),
        fix="make the training run; the exception is above",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"missing_zero_grad": 0.95})
def missing_zero_grad(subject: Subject, *, stale_share: float = 0.5) -> Iterator[Judgement]:
    """Find loops in which gradients from before an optimizer step are still there at the next backward pass.

    Measures: the share of optimizer steps whose gradients were never cleared since the step before, 0–1; of several
        optimizers, that of the worst.
    Fails when: the share is above `stale_share`.
    Warns when: it is, and an optimizer was made that never steps: one that steps in its place uses its own gradients
        twice.
    Not a fault when: gradients accumulate over several backward passes, and are cleared after the step.
    Source: Humbatova et al. 2020, missing zero_grad; benchmarks/localise.py, fault missing_zero_grad. A loop clears
        always or never, so that any bound between would do.
    """
    record = subject.record
    if record.steps < 3:
        yield skipped("fewer than 3 optimizer steps were seen")
        return
    share = max(record.stale_steps / max(1, record.steps - 1), record.stale_share)
    idle = bool(record.never_stepped)
    yield judge(
        share,
        above=stale_share,
        where=Place.part("training loop"),
        message=f"{share:.0%} of the steps start from gradients that the step before has already used"
        + (", which another optimizer that never steps may explain" if idle else ""),
        otherwise=Status.WARN if idle else Status.FAIL,
        fix="call optimizer.zero_grad() before loss.backward()",
    )


@check(layer=Layer.TRAINING, needs={"record"}, detects={"missing_eval_mode": 0.9})
def missing_eval_mode(
    subject: Subject, *, share: float = 0.5, large: float = 0.5, left: float = 0.5
) -> Iterator[Judgement]:
    """Find validation that runs while dropout or batch normalisation is in train mode, and learning in eval mode.

    Measures: the share of the forward passes without gradients in which such a module was in train mode, 0–1; and of
        the batches that a model learnt from, the share that it learnt from in the eval mode of a validation before
        them, or in eval mode at all where a batch normalisation ends with the statistics of no data, 0–1.
    Fails when: the share is above `share`, and the passes are validation: losses were asked for in them, or one model
        alone is trained and the largest of them holds at least `large` of a training batch. Also where a model that
        was told to train learns from more than `left` of its batches in that eval mode.
    Warns when: the share is above `share` in other passes: they may be samples of a generator, the answers of a
        teacher, or the moves of a player; or only a model that never learns runs so: a mean of another one's weights.
    Source: TrainCheck (Jiang et al. 2025), invariant on module.training during evaluation; benchmarks/localise.py,
        fault missing_eval_mode. All bounds are a choice of ours.
    """
    record = subject.record
    for model, value in record.left_in_eval.items():
        if value > left:
            yield Judgement(
                Status.FAIL,
                f"{model} learns from {value:.0%} of its batches in eval mode",
                value=value,
                threshold=left,
                where=Place.part("training loop"),
                fix="call model.train() before the training and after every validation",
            )
            return
    if record.validation_batches == 0 and record.others_in_train_mode:
        yield Judgement(
            Status.WARN,
            f"{record.others_in_train_mode} forward passes without gradients, of a model that never learns by itself, "
            "ran in train mode",
            value=record.others_in_train_mode,
            where=Place.part("training loop"),
            faults={"missing_eval_mode": 0.3},
            fix="call eval() on a teacher, unless its noise is meant",
        )
        return
    if record.validation_batches == 0:
        yield skipped("no forward pass without gradients, through a model with dropout or batch statistics, was seen")
        return
    value = record.validated_in_train_mode / record.validation_batches
    sure = len(record.validation_loss) > 0 or (record.learning_models == 1 and record.validation_size >= large)
    yield judge(
        value,
        above=share,
        otherwise=Status.FAIL if sure else Status.WARN,
        where=Place.part("validation loop"),
        message=f"{value:.0%} of the {'validation batches' if sure else 'forward passes without gradients'} "
        "ran in train mode",
        faults={"missing_eval_mode": 0.9 if sure else 0.3},
        fix="call model.eval() before validation, and model.train() after it",
    )


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"validation_contamination": 0.95})
def validation_contamination(subject: Subject, *, share: float = 0.02) -> Iterator[Judgement]:
    """Find loops that train on the validation split.

    Measures: the share of optimizer steps that learn from its batches, 0–1.
    Fails when: the share is above `share`.
    Not a fault when: the loop looks at validation batches between its steps.
    Source: Kapoor & Narayanan 2023, no clean separation of training and test data. The bound is a choice of ours;
        tests/checks/training/test_loop_faults.py holds the cases that it separates.
    """
    record = subject.trained.record
    if subject.training.fit is None or record is None or record.steps == 0:
        yield skipped("firstfault's own loop never trains on validation")
        return
    value = record.steps_on_validation / record.steps
    yield judge(
        value,
        above=share,
        where=Place.setting("training.fit"),
        message=f"{record.steps_on_validation} of {record.steps} steps learn from validation batches",
        fix="step on batches of the training loader only",
    )


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"metric_mismatch": 0.95}, gradients=False)
def metric_mismatch(subject: Subject, *, least: float = 1e-9) -> Iterator[Judgement]:
    """Find a metric that does not fit the task: one for classes on numbers, or one that does not prefer right answers.

    Measures: what a metric of the user's own gives made-up right outputs, minus what it gives one answer for all rows.
    Fails when: the difference is below `least`, or a metric that counts classes is used for a regression.
    Not a fault when: the loss of a regression does not prefer such outputs either: then they are not on the scale of
        the labels, as the logarithm of a rate is not, and nothing is known.
    Source: a choice of ours, `least` being rounding; tests/checks/training/test_loop_faults.py and test_marks.py hold
        the cases that it separates.
    """
    recipe = subject.recipe
    name, metric = metric_of(recipe.task, recipe.training.metric)
    if recipe.task == "regression" and name in COUNTING:
        yield Judgement(
            Status.FAIL,
            f"{name} counts classes, but the task is a regression",
            where=Place.setting("training.metric"),
            fix="use r2, mse or mae",
        )
        return
    made = answers(subject) if name not in METRICS else None
    if made is not None and recipe.task == "regression" and not _costs_less(recipe, made):
        yield skipped("the loss does not take outputs on the scale of the labels")
        return
    if made is None:
        yield (
            passed(f"{name} fits the task")
            if name in METRICS
            else skipped("there are no made-up outputs to ask the metric about")
        )
        return
    try:
        value = _score(metric, made.right, made, recipe.task) - _score(metric, made.constant, made, recipe.task)
    except Exception as error:
        yield skipped(f"the metric takes no made-up outputs ({type(error).__name__})")
        return
    yield judge(
        value,
        below=least,
        where=Place.setting("training.metric"),
        message=f"{name} gives right answers {value:+.3g} more than a constant one",
        fix="compute the metric on outputs and labels of the same samples; higher must be better",
    )


def _costs_less(recipe: Recipe, made: Answers) -> bool:
    """Whether outputs that equal the labels cost less than a constant answer; also where the loss takes neither."""
    try:
        with torch.no_grad():
            return bool(recipe.loss(made.right.clone(), made.y) < recipe.loss(made.constant.clone(), made.y))
    except Exception:  # the user's loss wants other outputs than these
        return True


def _score(metric: Any, outputs: Any, made: Answers, task: str) -> float:
    """The metric of made-up outputs; those of classes as logits, whose halfway is 0."""
    logits = outputs if task == "regression" else (outputs - 0.5) * SHARPNESS
    return float(metric(logits.numpy().copy(), made.y.numpy()))


@check(layer=Layer.TRAINING, needs={"record"}, detects={"parameters_not_in_optimizer": 0.95})
def parameters_not_in_optimizer(subject: Subject) -> Iterator[Judgement]:
    """Find trainable parameters that no optimizer holds, though they receive gradients.

    Measures: the number of such parameters.
    Fails when: there is one, also in an optimizer that was made and never stepped.
    Warns when: a watched loop has several models, and no optimizer holds anything of theirs: such a model may be there
        to measure with. It fails even so where an optimizer was given nothing but what another one holds, or steps
        while nothing of its own has a gradient, or where that model's matrices are as torch draws them.
    Source: TheDeepChecker (Braiek & Khomh 2023), untrained parameters; benchmarks/localise.py, fault
        parameters_not_in_optimizer.
    """
    record = subject.record
    if not record.optimizers or not record.in_optimizer:
        yield skipped("no optimizer step was seen")
        return
    for idle in record.never_stepped:
        yield Judgement(
            Status.FAIL,
            f"an optimizer {idle['optimizer']} was made for {len(idle['parameters'])} parameters that receive "
            "gradients "
            "and that no other one holds, and it never stepped",
            value=len(idle["parameters"]),
            threshold=0,
            where=idle["line"] or Place.parameters(*idle["parameters"][:5]),
            fix="call the step() of this optimizer, after the backward pass of its own loss",
        )
        return
    trained = subject.made(Subject.trained)
    trainable = _trainable(trained.model) if trained is not None and trained.epochs else set(record.in_optimizer)
    out = [
        name
        for name, held in record.in_optimizer.items()
        if not held and name in trainable and record.had_gradient.get(name)
    ]
    if not out:
        yield passed(f"the optimizers hold all {len(record.in_optimizer)} parameters that receive gradients")
        return
    beside = (
        not (trained is not None and trained.epochs)
        and record.learning_models > 1
        and not record.misdirected
        and not {record.model_of(name) for name in out} & _held(record)
        and not _are_as_drawn(subject, out)
    )
    yield Judgement(
        Status.WARN if beside else Status.FAIL,
        f"{len(out)} of {len(record.in_optimizer)} parameters receive gradients, but are in no optimizer that steps",
        value=len(out),
        threshold=0,
        where=Place.parameters(*out[:5]),
        faults={"parameters_not_in_optimizer": 0.3 if beside else 0.95},
        fix="pass model.parameters() of the model that is trained",
    )


def _held(record: Record) -> set[str]:
    """The models of which an optimizer holds something."""
    return {record.model_of(name) for name, held in record.in_optimizer.items() if held}


def _are_as_drawn(subject: Subject, names: list[str]) -> bool:
    """Whether all matrices among these parameters are at their random initialisation: nothing measures by them."""
    found = []
    models = subject.made(seen_models)
    for number, seen in enumerate(models or ()):
        matrices = {name for name, value in seen.start.named_parameters() if value.ndim > 1}
        for name in names:
            model, own = subject.record.model_of(name), name
            if model:
                own = name.removeprefix(f"{model}.") if model.startswith(type(seen.start).__name__) else ""
            if own in matrices and bool(model) == bool(number):
                found.append(is_as_drawn(seen.start, own))
    return bool(found) and all(found)


def _trainable(model: Any) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}
