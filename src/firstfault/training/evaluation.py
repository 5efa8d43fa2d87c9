"""A model asked in eval mode: its outputs, and what they score."""

from __future__ import annotations

import torch
from torch import nn

from firstfault.metrics import metric_of
from firstfault.training.recipe import Recipe, Tensors, outputs_of

EVALUATION_BATCH = 512
"""Rows that are predicted at once: bounds the memory."""


def evaluate(recipe: Recipe, model: nn.Module, *parts: Tensors) -> tuple[float, float]:
    """Loss and metric of `model` in eval mode on all parts together, leaving modes and random state as they were."""
    if not sum(len(part) for part in parts):
        return float("nan"), float("nan")
    outputs = torch.cat([predict(recipe, model, part.x) for part in parts])
    return scores_of(recipe, outputs, torch.cat([part.y for part in parts]))


def scores_of(recipe: Recipe, outputs: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Loss and metric of outputs."""
    _, metric = metric_of(recipe.task, recipe.training.metric)
    with torch.no_grad():
        loss = float(recipe.loss(outputs, y))
    if not torch.isfinite(outputs).all():
        return loss, float("nan")
    return loss, metric(outputs.float().cpu().numpy(), y.cpu().numpy())


def predict(recipe: Recipe, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Outputs `(N, …)` of `model` in eval mode, leaving modes and random state as they were."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            parts = [outputs_of(model(recipe.inputs_for(model, part))) for part in torch.split(x, EVALUATION_BATCH)]
            return torch.cat(parts)
    finally:
        for module, training in modes.items():
            module.training = training
