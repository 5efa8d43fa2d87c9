"""The model that firstfault packages: it refuses bad input, prepares it as in training, and answers in eval mode."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel
from torch import nn

from firstfault.metrics import Array
from firstfault.training.input_tree import InputTree, samples
from firstfault.training.preprocessing import to_inputs
from firstfault.training.recipe import outputs_of
from firstfault.training.stages import numbers
from firstfault.training.tree_calls import Spelled

BEYOND = 100
"""Times the largest number in training, beyond which a number is taken for a slip of units, and is refused."""


class PackagedModel(PythonModel):  # type: ignore[misc]
    """A trained network with its fitted preprocessing. `predict` takes raw samples and returns outputs `(N, …)`.

    Raises:
        ValueError: for no rows, missing values where training had none, or outputs that are not finite; a
            served process answers these with a 4xx.
    """

    def __init__(
        self,
        steps: list[Callable[[Any], Any]],
        model: nn.Module,
        whole: bool,
        tolerant: bool,
        dtypes: dict[Hashable, Any],
        largest: float,
        style: str | None = None,
    ) -> None:
        self.steps, self.model, self.whole, self.tolerant, self.dtypes = steps, model, whole, tolerant, dtypes
        self.largest, self.style = largest, style

    @classmethod
    def of(
        cls, model: nn.Module, steps: list[Callable[[Any], Any]], raw: Any, *, whole: bool, style: str | None = None
    ) -> PackagedModel:
        """The package of a model behind fitted steps, for inputs like `raw`; `whole` if it takes whole numbers.

        `style` says how it is called, if its inputs are a tree.
        """
        frame = raw if isinstance(raw, pd.DataFrame) else None
        tolerant = frame is not None and bool(frame.isna().any().any())
        dtypes = {} if frame is None else dict(frame.dtypes)
        return cls(steps, model, whole, tolerant, dtypes, BEYOND * _largest(raw), style)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """Outputs `(N, …)` for raw samples."""
        if len(model_input) == 0:
            raise ValueError("at least one sample is expected, but none came")
        if not self.tolerant and _missing(model_input):
            raise ValueError("every value is expected, but some are missing")
        if _largest(model_input) > self.largest:
            raise ValueError(
                f"every number is expected within {self.largest:g}, {BEYOND} times the largest in training"
            )
        outputs = self.answer(model_input)
        if not np.isfinite(outputs).all():
            raise ValueError("the input lies so far outside the training data that no finite answer exists")
        return outputs

    def answer(self, raw: Any) -> Array:
        """Outputs `(N, …)` as an array."""
        if isinstance(raw, pd.DataFrame) and self.dtypes:
            raw = raw.astype(
                {name: kind for name, kind in self.dtypes.items() if name in raw.columns and _changed_on_the_way(kind)}
            )
        rows = len(raw)
        for step in self.steps:
            raw = step(raw)
        with torch.inference_mode():
            outputs = outputs_of(self._asked(samples(raw, rows)))
        return outputs.float().numpy()

    def _asked(self, prepared: Any) -> Any:
        if isinstance(prepared, InputTree):
            return Spelled(self.model, self.style or "whole")(prepared.tree)
        x = to_inputs(prepared)
        return self.model(x if self.whole else x.float())


def _changed_on_the_way(kind: Any) -> bool:
    """Whether a client sends a column of this type in another: categories as text, nullable numbers as floats."""
    return str(kind) == "category" or (
        pd.api.types.is_extension_array_dtype(kind) and pd.api.types.is_numeric_dtype(kind)
    )


def _largest(value: Any) -> float:
    values = numbers(value)
    values = values[~np.isnan(values)]
    return max(float(np.abs(values).max(initial=0.0)), 1.0)


def _missing(value: Any) -> bool:
    if isinstance(value, pd.DataFrame):
        return bool(value.isna().any().any())
    array = np.asarray(value)
    return bool(np.isnan(array).any()) if array.dtype.kind == "f" else False
