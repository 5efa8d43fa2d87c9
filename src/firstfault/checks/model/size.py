"""How large the model is, against the data it learns from."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import Judgement, check
from firstfault.finding import Layer, Status
from firstfault.subject.model_inputs import sound_batch
from firstfault.subject.subject import Subject
from firstfault.training.model_summary import summarise


@check(layer=Layer.MODEL, needs={"outputs", "batch"}, detects={})
def model_size(subject: Subject) -> Iterator[Judgement]:
    """Count the parameters, and write the summary of the layers beside the run.

    Measures: the number of parameters.
    Fails when: never. It judges nothing.
    Source: torchinfo.
    """
    found = summarise(subject.fresh_model(), sound_batch(subject).x)
    names = found.write(subject.folder)
    per_sample = found.parameters / max(1, len(subject.recipe.train))
    yield Judgement(
        Status.PASS,
        f"{found.parameters:,} parameters, {found.trainable:,} trainable, {per_sample:.1f} per training sample",
        value=found.parameters,
        artifacts=names,
    )
