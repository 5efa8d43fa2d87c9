"""How much change of the input flips the answer: noise, and small adversarial steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from firstfault.check import Depth, Judgement, check
from firstfault.checks.safety._evidence import safety_evidence
from firstfault.checks.safety._held_out import classifier, trained_model
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.metrics import classes_of
from firstfault.subject.subject import Subject
from firstfault.training.estimators import scaled_columns
from firstfault.training.evaluation import predict
from firstfault.training.one_tensor import Rows as LookedUp
from firstfault.training.one_tensor import inputs_of_call
from firstfault.training.recipe import Recipe, outputs_of

MOST_ROWS = 1_000
"""Bounds the time of the attacks; an accuracy on so many rows errs by 0.016 at most."""
NOISE = (0.05, 0.1, 0.2, 0.4)
"""Deviations of each input, of which `noise` is judged: the others draw the curve."""
STEPS = (0.02, 0.05, 0.1)
"""Deviations of each input that FGSM and PGD may move it by; told, and never judged."""
TOLD_STEP = STEPS[1]
LEARNT = 0.05  # what a model is better than the most common class by, before it has an accuracy to lose
Rows = list[dict[str, Any]]


@check(layer=Layer.SAFETY, needs={classifier}, detects={"not_robust": 0.9}, depth=Depth.STANDARD)
def robustness(subject: Subject, *, noise: float = 0.1, keeps: float = 0.5, wears: float = 0.9) -> Iterator[Judgement]:
    """Measure accuracy under Gaussian noise and FGSM (PGD at depth deep), in units of each input's deviation.

    Measures: the share of the accuracy above that of the most common class which is kept under noise of `noise`
        deviations, on up to 1,000 test samples.
    Fails when: it is below `keeps`.
    Warns when: it is below `wears`.
    Not a fault when: adversarial steps ruin the accuracy, which no ordinary model withstands: it is told, not judged;
        or the model is hardly better than the most common class.
    Source: Hendrycks & Dietterich 2019 (noise); Goodfellow et al. 2015 (FGSM); Madry et al. 2018 (PGD).
    """
    model = trained_model(subject).model
    rows = _measured(subject, model, sorted({*NOISE, noise}))
    y = subject.recipe.test.rows(slice(MOST_ROWS)).y
    prior = float(np.bincount(y.cpu().numpy()).max() / len(y))
    clean, noisy = rows[0]["accuracy"], _accuracy_at(rows, "Gaussian noise", noise)
    stepped = _accuracy_at(rows, "FGSM", TOLD_STEP) if subject.target.by_gradients else None
    kept = (noisy - prior) / max(clean - prior, 1e-9) if clean > prior + LEARNT else 1.0
    evidence = safety_evidence(subject)
    evidence.tables["robustness"] = rows
    evidence.scores["accuracy_under_noise"] = noisy
    if stepped is not None:
        evidence.scores["accuracy_under_fgsm"] = stepped
    status = Status.FAIL if kept < keeps else Status.WARN if kept < wears else Status.PASS
    attacked = f", {stepped:.3f} under FGSM of {TOLD_STEP}" if stepped is not None else ""
    yield Judgement(
        status,
        f"accuracy is {clean:.3f} clean, {noisy:.3f} under noise of {noise} deviations{attacked}",
        value=kept,
        threshold=keeps,
        fix="train with the perturbation" if status is not Status.PASS else None,
    )


def _measured(subject: Subject, model: nn.Module, sizes: list[float]) -> Rows:
    """Accuracy by change and size, that without a change first."""
    recipe = subject.recipe
    test = recipe.test.rows(slice(MOST_ROWS))
    if not recipe.inputs_for(model, test.x[:1]).is_floating_point():
        several = isinstance(inputs_of_call(model), LookedUp)
        raise Missing("noise is put on inputs of one tensor only" if several else "token ids take no noise")
    x, y = test.x.float(), test.y
    scale = recipe.train.x.float().std(0, keepdim=True)
    scale = torch.where((scale > 1e-6) & scaled_columns(model, x), scale, torch.zeros_like(scale))
    rows = [{"change": "none", "size": 0.0, "accuracy": _accuracy(recipe, model, x, y)}]
    generator = torch.Generator().manual_seed(subject.seed)
    for size in sizes:
        noisy = x + size * scale * torch.randn(x.shape, generator=generator)
        rows.append({"change": "Gaussian noise", "size": size, "accuracy": _accuracy(recipe, model, noisy, y)})
    attacks = [("FGSM", 1)] + ([("PGD", 10)] if subject.depth.includes(Depth.DEEP) else [])
    for name, steps in attacks if subject.target.by_gradients else []:  # which follow the slope of the loss
        for size in STEPS:
            attacked = _attack(recipe, model, x, y, size * scale, steps)
            rows.append({"change": name, "size": size, "accuracy": _accuracy(recipe, model, attacked, y)})
    return rows


def _accuracy_at(rows: Rows, change: str, size: float) -> float:
    return next(float(row["accuracy"]) for row in rows if row["change"] == change and row["size"] == size)


def _accuracy(recipe: Recipe, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    outputs = predict(recipe, model, x).float().cpu().numpy()
    return float(np.mean(classes_of(outputs) == y.cpu().numpy()))


def _attack(
    recipe: Recipe, model: nn.Module, x: torch.Tensor, y: torch.Tensor, size: torch.Tensor, steps: int
) -> torch.Tensor:
    """The inputs moved within ± `size` in the direction in which the loss grows."""
    model.eval()
    moved = x.clone()
    for _ in range(steps):
        moved = moved.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(recipe.loss(outputs_of(model(moved)), y), moved)
        step = size if steps == 1 else size / 4
        moved = torch.maximum(torch.minimum(moved + step * gradient.sign(), x + size), x - size)
    return moved.detach()
