"""The model's summary: layers, shapes and parameter counts, as text and as JSON."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firstfault.interrupts import pass_on
from firstfault.output.whole_files import write_json, write_text
from firstfault.values import Json

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torchinfo.layer_info import LayerInfo


TEXT, JSON = "model_summary.txt", "model_summary.json"


@dataclass(frozen=True)
class LayerRow:
    """One module: its name in the model, its class, the shape of its output, and its own parameters."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Summary:
    """Parameter counts, the layers in the order in which they run, and torchinfo's table of them as text."""

    parameters: int
    trainable: int
    bytes: int
    layers: tuple[LayerRow, ...]
    text: str

    def to_json(self) -> Json:
        """The counts and layers as JSON values."""
        values = asdict(self)
        del values["text"]
        return values

    def write(self, folder: Path) -> tuple[str, str]:
        """Write model_summary.txt and model_summary.json into `folder`; their names."""
        write_text(folder / TEXT, f"{self.text}\n")
        write_json(folder / JSON, self.to_json(), indent=2)
        return TEXT, JSON


def summarise(model: nn.Module, x: torch.Tensor, *, rows: int = 2) -> Summary:
    """Summarise a model on the first `rows` of a batch `x` `(N, …)`; neither it nor the random state is changed.

    A model that torchinfo can't trace is summarised by its `repr` and parameter counts.
    """
    import torch

    counts = {id(value): value for value in model.parameters()}.values()
    with torch.random.fork_rng(devices=[]):
        text, layers = _table(copy.deepcopy(model), x[:rows])
    return Summary(
        parameters=sum(value.numel() for value in counts),
        trainable=sum(value.numel() for value in counts if value.requires_grad),
        bytes=sum(value.numel() * value.element_size() for value in counts),
        layers=layers,
        text=text,
    )


def _table(model: nn.Module, x: torch.Tensor) -> tuple[str, tuple[LayerRow, ...]]:
    from torchinfo import summary

    try:
        stats = summary(model, input_data=x, verbose=0, mode="eval", depth=4)
    except BaseException as error:
        pass_on(error)
        return f"{model!r}", ()
    names: Mapping[int, str] = {id(module): name for name, module in model.named_modules()}
    return str(stats), tuple(_row(info, names) for info in stats.summary_list)


def _row(info: LayerInfo, names: Mapping[int, str]) -> LayerRow:
    size = info.output_size if all(isinstance(length, int) for length in info.output_size) else ()
    own = list(info.module.parameters(recurse=False))
    return LayerRow(
        names.get(id(info.module), info.var_name),
        info.class_name,
        tuple(size),
        sum(value.numel() for value in own),
        sum(value.numel() for value in own if value.requires_grad),
    )
