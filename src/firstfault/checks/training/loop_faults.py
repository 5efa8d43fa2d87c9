"""Faults of the training loop itself, seen in the order of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from firstfault.check import Judgement, check, judge, passed, skipped
from firstfault.checks.preprocessing.rerun import fixed_seeds
from firstfault.finding import Layer, Status
from firstfault.loading import batches_of, is_pair
from firstfault.metrics import METRICS, metric_of
from firstfault.prior import prior_score
from firstfault.recipe import Recipe

MOST_BATCHES = 500


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
    if recipe.task == "regression" and name in ("accuracy", "balanced_accuracy", "f1", "auc", "label_accuracy"):
        yield Judgement(Status.FAIL, f"{name} counts classes, but the task is a regression", where="training.metric",
                        fix="use r2, mse or mae")
        return
    answers = _answers(subject)
    if name in METRICS or answers is None:
        yield passed(f"{name} fits the task")
        return
    right, constant, y = answers
    try:
        value = metric(right, y) - metric(constant, y)
    except Exception as error:
        yield skipped(f"the metric takes no made-up outputs ({type(error).__name__})")
        return
    yield judge(
        value, below=1e-9, where="training.metric", message=f"{name} gives right answers {value:+.3g} more than a constant one",
        fix="compute the metric on outputs and labels of the same samples; higher must be better",
    )


def _answers(subject: Any) -> tuple[Any, Any, Any] | None:
    """Right outputs, those of a constant answer, and labels `(N,)`, as arrays; None where they can't be made up."""
    recipe = subject.recipe
    y = recipe.train.y[:256].cpu()
    outputs = subject.built.get("outputs")
    if recipe.task == "regression":
        return (y.numpy(), np.broadcast_to(y.float().mean(0).numpy(), y.shape).copy(), y.numpy()) if len(y.unique(dim=0)) > 1 else None
    if recipe.task != "classification" or y.ndim != 1 or len(y.unique()) < 2 or outputs is None or outputs.ndim != 2:
        return None
    width = outputs.shape[1]
    if width == 1:
        right = (y.float()[:, None] * 2 - 1) * 4
        return right.numpy(), np.full(right.shape, float(right.max())), y.numpy()
    if int(y.max()) >= width:
        return None
    right = torch.nn.functional.one_hot(y.long(), width).float() * 8 - 4
    return right.numpy(), np.tile(right[0].numpy(), (len(y), 1)), y.numpy()


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


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"gradient_clipped_away": 0.9})
def gradient_clipped_away(subject: Any, *, remaining: float = 1e-3) -> Iterator[Judgement]:
    """Find clipping that leaves next to nothing of the gradient.

    Source: DeepCrime, mutation of gradient clipping.
    """
    clip = subject.target.training.clip_norm
    if clip is None:
        yield skipped("the target clips no gradients")
        return
    yield judge(
        float(clip), below=remaining, where="training.clip_norm",
        message=f"gradients are clipped to a norm of {clip:g}", fix="raise clip_norm to about 1, or drop it",
    )


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"wrong_loss": 0.7})
def wrong_loss(subject: Any) -> Iterator[Judgement]:
    """Find a loss that measures distances where the task is to choose a class.

    Source: Humbatova et al. 2020, wrong loss function; TheDeepChecker.
    """
    loss, task = subject.recipe.training.loss, subject.recipe.task
    distances = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
    choices = (nn.CrossEntropyLoss, nn.NLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss)
    name = type(loss).__name__
    if task == "regression" and isinstance(loss, choices[:2]):
        yield Judgement(Status.FAIL, f"{name} chooses a class, but the task is regression", where="training.loss", fix="use MSELoss")
    elif task != "regression" and isinstance(loss, distances):
        fix = "use BCEWithLogitsLoss" if task == "multilabel" else "use CrossEntropyLoss"
        yield Judgement(Status.FAIL, f"{name} measures a distance, but the task is {task}", where="training.loss", fix=fix)
    else:
        yield passed("the loss fits the task")


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"wrong_loss_reduction": 0.8})
def wrong_loss_reduction(subject: Any) -> Iterator[Judgement]:
    """Find a loss that is summed over the batch, so that its gradient grows with the batch size."""
    reduction = getattr(subject.recipe.training.loss, "reduction", None)
    if reduction is None:
        yield skipped("the loss has no reduction to look at")
        return
    if reduction == "sum":
        yield Judgement(
            Status.FAIL, "the loss is summed over the batch, so that the step grows with the batch size", where="training.loss",
            fix="use reduction='mean'",
        )
        return
    yield passed(f"the loss is reduced by {reduction}")


@check(layer=Layer.TRAINING, needs={"trained"}, detects={"flipped_loss_sign": 0.9})
def flipped_loss_sign(subject: Any) -> Iterator[Judgement]:
    """Find a loss that is negated: it falls without bound while the outputs get worse.

    The loss of outputs that are right is compared with the loss of outputs that are wrong. In the user's own loop, a loss that
    falls far below zero while the model ends worse than a constant answer tells the same.

    Source: Humbatova et al. 2020, wrong sign of the loss.
    """
    recipe = subject.recipe
    if recipe.training.fit is not None:
        yield _sign_in_fit(subject)
        return
    if recipe.task not in ("classification", "regression"):
        yield skipped("only losses on classes or numbers are compared")
        return
    losses = _right_and_wrong(subject)
    if losses is None:
        yield skipped("the loss takes no made-up outputs")
        return
    right, wrong = losses
    if right > wrong + 1e-6:
        yield Judgement(
            Status.FAIL, f"right outputs cost {right:.3g}, wrong ones {wrong:.3g}: the loss rewards mistakes",
            value=right, threshold=wrong, where="training.loss", fix="minimise the loss: remove the minus sign",
        )
        return
    yield passed(f"right outputs cost {right:.3g}, wrong ones {wrong:.3g}")


def _sign_in_fit(subject: Any) -> Judgement:
    trained = subject.trained
    if trained.record is None or trained.record.steps < 10 or trained.crash is not None:
        return skipped("fewer than 10 steps of the user's loop were seen")
    start, end = trained.record.loss_ends()
    constant = prior_score(subject.recipe, subject.recipe.validation)
    if end < min(start, 0.0) - abs(start) and trained.score < constant:
        return Judgement(
            Status.FAIL, f"the loss fell from {start:.3g} to {end:.3g}, while {trained.metric} ended at {trained.score:.3g}, "
            f"below {constant:.3g} of a constant answer: the loss rewards mistakes",
            value=end, threshold=0.0, where="training.fit", fix="minimise the loss: remove the minus sign",
        )
    return passed(f"the loss went from {start:.3g} to {end:.3g}, and {trained.metric} ended at {trained.score:.3g}")


def _right_and_wrong(subject: Any) -> tuple[float, float] | None:
    recipe, y = subject.recipe, subject.recipe.train.y[:256]
    shape = subject.built.get("outputs", None)
    try:
        width = shape.shape[1] if shape is not None and shape.ndim == 2 else recipe.classes
        if recipe.task == "classification" and width > 1:
            right = torch.nn.functional.one_hot(y, width).float() * 0.9 + 0.05
            wrong = torch.nn.functional.one_hot((y + 1) % recipe.classes, width).float() * 0.9 + 0.05
            if isinstance(recipe.training.loss, nn.NLLLoss):
                right, wrong = right.log(), wrong.log()
        elif recipe.task == "classification":
            right, wrong = y.float()[:, None] * 0.9 + 0.05, (1 - y).float()[:, None] * 0.9 + 0.05
        else:
            right, wrong = y.clone(), y + y.std() + 1
        return float(recipe.loss(right, y)), float(recipe.loss(wrong, y))
    except Exception:
        return None


@check(layer=Layer.TRAINING, needs={"recipe"}, detects={"no_shuffle": 0.85})
def no_shuffle(subject: Any, *, within: float = 0.5) -> Iterator[Judgement]:
    """Find unshuffled batches of sorted labels.

    `value` is the mean label entropy within a batch relative to that of the whole split, 0–1.

    Source: our planted faults; unsorted data without shuffling keep a ratio near 1.
    """
    recipe = subject.recipe
    own = recipe.training.loader is not None
    if recipe.training.shuffle and not own:
        yield passed("the training split is shuffled")
        return
    batches = label_batches(recipe)
    if recipe.task != "classification" or len(batches) < 2:
        yield skipped("label entropy needs classes and more than one batch")
        return
    whole = _entropy(torch.cat(batches), recipe.classes)
    parts = [_entropy(part, recipe.classes) for part in batches]
    ratio = float(sum(parts) / len(parts) / max(whole, 1e-9))
    yield judge(
        ratio, below=within, where="training.loader" if own else "training.shuffle",
        message=f"{'in the order of the loader' if own else 'without shuffling'}, a batch holds {ratio:.0%} of the label entropy of the whole split",
        fix="shuffle the training split",
    )


def label_batches(recipe: Recipe) -> list[torch.Tensor]:
    """The class ids of each training batch, as the user's loader gives them, or in order; empty for labels that are no ids."""
    if recipe.training.loader is None:
        return list(torch.split(recipe.train.y, recipe.training.batch_size))
    with fixed_seeds():
        pairs = [batch for batch in islice(batches_of(recipe, "train", 0), MOST_BATCHES) if is_pair(batch)]
    ids = [y for _, y in pairs if y.ndim == 1 and not y.is_floating_point() and int(y.min()) >= 0]
    return ids if len(ids) == len(pairs) else []


def _entropy(y: torch.Tensor, classes: int) -> float:
    share = torch.bincount(y, minlength=classes).float() / len(y)
    return float(-(share[share > 0] * share[share > 0].log()).sum())
