"""The example's assistant, whose file is copied here as assistant_example.py, behind a list of blocked words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from assistant_example import REFUSAL, Assistant  # type: ignore[import-not-found]
from assistant_example import generate as continued
from assistant_example import target as example

from firstfault import Deployment, Safety

BLOCKED = ("forge",)


def generate(prompt: str, model: Any) -> str:
    """The served answer: a refusal of what is blocked, else what the model says."""
    if any(word in prompt.split() for word in BLOCKED):
        return str(REFUSAL)
    return str(continued(prompt, model))


def load(path: Path) -> Any:
    """The model with the weights that are served."""
    model = Assistant()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


target = replace(
    example,
    safety=Safety(suites=["behaviour.yaml"], generate=generate),
    deployment=Deployment(model="served.pt", load=load),
)
