"""The trained model that a run leaves in its folder: its weights, and the curve that led to them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from firstfault.errors import TargetError, first_line
from firstfault.finding import plain
from firstfault.output.whole_files import replacing, write_json
from firstfault.training.loop import Epoch, Trained
from firstfault.training.recipe import Recipe

WEIGHTS, COURSE = "trained.pt", "trained.json"


def keep(trained: Trained, folder: Path) -> None:
    """Write the weights of a trained model and its curve into the folder of its run."""
    with replacing(folder / WEIGHTS) as draft, draft.open("wb") as file:
        torch.save(trained.model.state_dict(), file)
    curve = {"epochs": [asdict(epoch) for epoch in trained.epochs]}
    write_json(
        folder / COURSE,
        plain({"seconds": trained.seconds, "share": trained.share, "stopped": trained.stopped, **curve}),
    )


def is_kept(folder: Path) -> bool:
    """Whether a run has left its trained model there."""
    return (folder / WEIGHTS).is_file() and (folder / COURSE).is_file()


def kept(recipe: Recipe, seed: int, metric: str, folder: Path) -> Trained:
    """The trained model of a run, without training it again; the record of its steps is not read back.

    Raises:
        TargetError: when the weights are not those of the network that the target builds now, or can't be read.
    """
    model = recipe.build(seed)
    try:
        weights = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
        model.load_state_dict(weights)
        told = json.loads((folder / COURSE).read_text(encoding="utf-8"))
        epochs = [Epoch(**_numbers(values)) for values in told.pop("epochs")]
    except Exception as error:
        raise TargetError(
            f"{folder / WEIGHTS} must hold the weights of the network that the target builds now, "
            f"but: {first_line(error)}"
        ) from error
    return Trained(model.eval(), metric, epochs, **told)


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    """What JSON has no number for is written as text."""
    return {name: float(value) if isinstance(value, str) else value for name, value in values.items()}
