"""A distribution of a third party: meters of site 1 may be wired the other way round, so that they count backwards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from firstfault.ablation.swap import swap
from firstfault.check import Judgement, check, judge
from firstfault.faults import fault
from firstfault.finding import Layer
from firstfault.place import Place
from firstfault.subject.subject import Subject
from firstfault.training.recipe import Recipe, Tensors

fault(
    "reversed_meter",
    layer=Layer.DATA,
    wrong="meters of one site count backwards",
    remedy="turn the sign of the flow at that site",
    explains=("label_noise",),
)


@check(layer=Layer.DATA, needs={"raw"}, detects={"reversed_meter": 0.6})
def reversed_meter(subject: Subject, *, agreement: float = 0.0) -> Iterator[Judgement]:
    """Find a site whose flow goes down where that of the other goes up.

    Measures: the product of the two sites' correlations of flow and label, −1 to 1.
    Fails when: it is below `agreement`.
    Source: the handbook of Acme's meters.
    """
    frame, y = subject.raw.train.X, np.asarray(subject.raw.train.y, dtype=float)
    here = frame["site"].to_numpy() == 1
    told = [np.corrcoef(frame["flow"].to_numpy()[rows], y[rows])[0, 1] for rows in (here, ~here)]
    yield judge(
        float(np.prod(told)),
        below=agreement,
        where=Place.columns("flow"),
        message=f"flow and label correlate by {told[0]:.2f} at site 1, and by {told[1]:.2f} at the other",
    )


@swap(change="turn the sign of the flow at site 1", undoes=("reversed_meter",))
def turned_meter(subject: Subject) -> Recipe:
    """The flow of site 1 with its sign turned, in every split."""

    def turned(part: Tensors) -> Tensors:
        x = part.x.clone()
        x[x[:, 1] == 1, 0] *= -1
        return Tensors(x, part.y)

    recipe = subject.recipe
    return recipe.with_parts(train=turned(recipe.train), validation=turned(recipe.validation), test=turned(recipe.test))


class Meter:
    """A sink that writes what it is given into the folder of the training."""

    def begin(self, name: str, folder: Path) -> None:
        """Open the file."""
        self.file = (folder / "acme.jsonl").open("w", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Take the values of a step."""
        self.file.write(json.dumps({"step": step, "loss": values.get("loss")}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self.file.close()
