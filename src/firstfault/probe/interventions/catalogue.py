"""All interventions, and which of them undo a fault."""

from __future__ import annotations

from firstfault.faults import SYMPTOMS
from firstfault.probe.interventions import gradients, labels, loaders, losses, masks, models, rates
from firstfault.probe.interventions.intervention import REGISTRY, Intervention

ROOMS = (rates, gradients, losses, masks, labels, models, loaders)
"""The modules that fill the registry."""

NONE_POSSIBLE = {
    "missing_causal_mask": "without the mask a loop is told its answers, so that its scores fall where it is mended",
    "labels_shifted_twice": "asked for the next token, a loop answers another question: no score compares both",
    "too_few_epochs": "how long a script trains is in its own code: more epochs can't be made from outside",
    "batch_size_too_large": "the size of its batches is in the script's own code",
    "batch_size_too_small": "the size of its batches is in the script's own code",
}
"""Why no intervention undoes a fault, where a reader would expect one."""


def intervention(name: str) -> Intervention:
    """The one of this name."""
    return REGISTRY[name]


def why_none(fault: str) -> str:
    """Why no intervention undoes a fault."""
    if fault in SYMPTOMS:
        return "it is a symptom, and what is tested are its causes"
    return NONE_POSSIBLE.get(fault, "no intervention in a running script undoes it")


def interventions_for(fault: str) -> list[Intervention]:
    """Those that undo a fault, in the order in which they are to be tried."""
    return [known for known in REGISTRY.values() if fault in known.undoes]
