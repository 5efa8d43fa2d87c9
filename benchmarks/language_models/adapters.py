"""Adapters of PEFT on a declared language model: `FAULTY[fault](kit, luck)`, and sound twins, `HEALTHY[name]`."""

from __future__ import annotations

import copy
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from loops import lora
from own_model import TALK, rows
from planted import Kit, prepare_with

from firstfault import LM, FineTuning


def trained(kit: Kit, **settings: Any) -> Any:
    """A model whose adapter has made a few steps."""
    words = kit.words()
    model = lora(kit.model(), **settings)
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-2)
    row = prepare_with(words)(rows()[0])
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    return model


def saved(model: Any) -> Path:
    """The folder of a model's adapter."""
    folder = Path(tempfile.mkdtemp(prefix="firstfault-adapter-"))
    model.save_pretrained(folder)
    return folder


def _lm(kit: Kit, luck: random.Random, model: Any, **tuning: Any) -> LM:
    asked = luck.sample([ask for ask, _ in TALK], 2)
    made = FineTuning(**tuning) if tuning else None
    return LM(model=model, tokenizer=kit.words(), prompts=asked, tuning=made)


def _train_mode(kit: Kit, luck: random.Random) -> LM:
    return _lm(kit, luck, trained(kit, lora_dropout=0.1).train())


def _empty(kit: Kit, luck: random.Random) -> LM:
    model = lora(kit.model()).eval()
    return _lm(kit, luck, model, **({"before": kit.model(), "adapter": saved(model)} if luck.random() < 0.5 else {}))


def _switched_off(kit: Kit, luck: random.Random) -> LM:
    model = trained(kit).eval()
    model.base_model.disable_adapter_layers()
    return _lm(kit, luck, model)


def _names_lost(kit: Kit, luck: random.Random) -> LM:
    """Saved under other names of modules: PEFT loads nothing, and says so in a warning alone."""
    import peft
    from safetensors.torch import load_file, save_file

    folder = saved(trained(kit))
    file = folder / "adapter_model.safetensors"
    save_file({name.replace("attn", "attention"): value for name, value in load_file(file).items()}, file)
    model = peft.PeftModel.from_pretrained(kit.model(), folder).eval()
    return _lm(kit, luck, model, before=kit.model(), adapter=folder)


def _not_merged(kit: Kit, luck: random.Random) -> LM:
    """Unloaded in the place of merged: the weights are those before."""
    model = trained(kit).eval()
    folder = saved(model)
    return _lm(kit, luck, copy.deepcopy(model).unload(), before=kit.model(), adapter=folder, unmerged=model)


def _merged_twice(kit: Kit, luck: random.Random) -> LM:
    import peft

    model = trained(kit).eval()
    folder = saved(model)
    once = copy.deepcopy(model).merge_and_unload()
    twice = peft.PeftModel.from_pretrained(once, folder).merge_and_unload()
    return _lm(kit, luck, twice, before=kit.model(), adapter=folder, unmerged=model)


def _merged(kit: Kit, luck: random.Random) -> LM:
    model = trained(kit).eval()
    folder = saved(model)
    return _lm(kit, luck, copy.deepcopy(model).merge_and_unload(), before=kit.model(), adapter=folder, unmerged=model)


def _beside(kit: Kit, luck: random.Random) -> LM:
    return _lm(kit, luck, trained(kit, lora_dropout=0.1).eval())


FAULTY: dict[str, Callable[[Kit, random.Random], LM]] = {
    "train_mode_serving": _train_mode,
    "adapter_empty": _empty,
    "adapter_without_effect (switched off)": _switched_off,
    "adapter_without_effect (names lost)": _names_lost,
    "adapter_without_effect (not merged)": _not_merged,
    "merge_changed": _merged_twice,
}
"""By fault, and in brackets how it is made."""
HEALTHY: dict[str, Callable[[Kit, random.Random], LM]] = {"merged": _merged, "beside the weights": _beside}
"""By name, how it is set up."""
