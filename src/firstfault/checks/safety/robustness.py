"""How much change of the input flips the answer: noise, and small adversarial steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from firstfault.check import Depth
from firstfault.errors import Missing
from firstfault.finding import Status
from firstfault.metrics import classes_of
from firstfault.subject.subject import Subject
from firstfault.training.loop import predict
from firstfault.training.recipe import outputs_of

MOST_ROWS = 1_000
NOISE = (0.05, 0.1, 0.2, 0.4)
STEPS = (0.02, 0.05, 0.1)


def robustness(subject: Subject, evidence: Any, *, noise: float = 0.1, keeps: float = 0.5) -> None:
    """Measure accuracy under Gaussian noise and FGSM (PGD at depth deep), in units of each input's deviation.

    `value` is the share of the accuracy above chance that is kept under noise of a tenth of a deviation; below `keeps` it is a fault.
    Adversarial accuracy is reported, not judged: no ordinary model withstands it.

    Source: Hendrycks & Dietterich 2019 (noise); Goodfellow et al. 2015 (FGSM); Madry et al. 2018 (PGD).
    """
    recipe, trained = subject.recipe, subject.trained
    if trained.crash is not None:
        raise Missing("the training crashed, so there is no model to judge")
    test = recipe.test.rows(slice(MOST_ROWS))
    if not recipe.inputs_for(trained.model, test.x[:1]).is_floating_point():
        raise Missing("token ids take no noise")
    x, y = test.x.float(), test.y
    scale = recipe.train.x.float().std(0, keepdim=True)
    scale = torch.where(scale > 1e-6, scale, torch.zeros_like(scale))
    clean = _accuracy(recipe, trained.model, x, y)
    rows = [{"change": "none", "size": 0.0, "accuracy": clean}]
    generator = torch.Generator().manual_seed(subject.seed)
    for size in NOISE:
        noisy = x + size * scale * torch.randn(x.shape, generator=generator)
        rows.append({"change": "Gaussian noise", "size": size, "accuracy": _accuracy(recipe, trained.model, noisy, y)})
    attacks = [("FGSM", 1)] + ([("PGD", 10)] if subject.depth.includes(Depth.DEEP) else [])
    for name, steps in attacks:
        for size in STEPS:
            attacked = _attack(recipe, trained.model, x, y, size * scale, steps)
            rows.append({"change": name, "size": size, "accuracy": _accuracy(recipe, trained.model, attacked, y)})
    evidence.tables["robustness"] = rows
    _judge(evidence, rows, float(np.bincount(y.numpy()).max() / len(y)), noise, keeps)


def _judge(evidence: Any, rows: list[dict[str, Any]], prior: float, noise: float, keeps: float) -> None:
    clean = rows[0]["accuracy"]
    noisy = next(row["accuracy"] for row in rows if row["change"] == "Gaussian noise" and row["size"] == noise)
    fgsm = next(row["accuracy"] for row in rows if row["change"] == "FGSM" and row["size"] == STEPS[1])
    kept = (noisy - prior) / max(clean - prior, 1e-9) if clean > prior + 0.05 else 1.0
    evidence.scores.update({"accuracy_under_noise": noisy, "accuracy_under_fgsm": fgsm})
    status = Status.FAIL if kept < keeps else Status.WARN if kept < 0.9 else Status.PASS
    evidence.add(
        "robustness", status,
        f"accuracy is {clean:.3f} clean, {noisy:.3f} under noise of {noise} deviations, {fgsm:.3f} under FGSM of {STEPS[1]}",
        value=kept, threshold=keeps, faults={"not_robust": 0.9}, fix="train with the perturbation",
        source="Hendrycks & Dietterich 2019; Goodfellow et al. 2015",
    )


def _accuracy(recipe: Any, model: Any, x: torch.Tensor, y: torch.Tensor) -> float:
    outputs = predict(recipe, model, x).float().cpu().numpy()
    return float(np.mean(classes_of(outputs) == y.cpu().numpy()))


def _attack(recipe: Any, model: Any, x: torch.Tensor, y: torch.Tensor, size: torch.Tensor, steps: int) -> torch.Tensor:
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
