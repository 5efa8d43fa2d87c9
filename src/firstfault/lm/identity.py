"""What a language model is, as digests and plain settings: which version answered, with which template and adapter."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from firstfault.interrupts import pass_on
from firstfault.lm.adapter import Adapter
from firstfault.lm.endpoint import Endpoint
from firstfault.lm.function import Function
from firstfault.lm.local import Local
from firstfault.target.language_model import DECODING

SAMPLED = 65_536
"""Numbers of a parameter that are hashed, evenly apart: a training step moves nearly all of them."""
DIGITS = 16
"""Of a digest: two of a million versions are alike with a probability of 3e-8."""


@dataclass(frozen=True)
class Identity:
    """What answered: its kind, and digests of the whole (`version`), weights and template; "" where unknown."""

    kind: str
    version: str
    name: str = ""
    weights: str = ""
    template: str = ""
    adapter: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict)


def digest(*parts: object) -> str:
    """A digest of texts."""
    whole = "\0".join(map(str, parts)).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(whole, digest_size=DIGITS // 2).hexdigest()


def identity_of(asked: Adapter | Callable[..., object]) -> Identity:
    """What a language model is, by its weights, template and decoding; by its source where it is a function."""
    if isinstance(asked, Local):
        return _of_local(asked)
    if isinstance(asked, Endpoint):
        return Identity("endpoint", digest(asked.base, asked.name), asked.name, decoding=dict(asked.decoding))
    called = asked.generate if isinstance(asked, Function) else asked
    name = getattr(called, "__qualname__", type(called).__name__)
    return Identity("function", digest(name, _source(called)), name)


def _of_local(model: Local) -> Identity:
    weights = weights_digest(model.model)
    template = getattr(model.tokenizer, "chat_template", None)
    written = digest(template) if template else ""
    decoding = {name: value for name, value in model.effective_decoding.items() if name in DECODING and value}
    config = getattr(model.model, "config", None)
    name = str(getattr(config, "name_or_path", "") or type(model.model).__name__)
    adapter = ", ".join(sorted(map(str, getattr(model.model, "peft_config", None) or ())))
    own = [_source(each) for each in (model.render_with, model.encode_with, model.collate_with) if each is not None]
    version = digest(weights, written, sorted(decoding.items()), sorted(map(str, model.stop_ids)), *own)
    return Identity("model", version, Path(name).name, weights, written, adapter, decoding)


def weights_digest(model: nn.Module) -> str:
    """A digest of a network's parameters and buffers, of up to 65,536 numbers each."""
    found = hashlib.blake2b(digest_size=DIGITS // 2)
    for name, value in model.state_dict().items():
        found.update(name.encode())
        if isinstance(value, torch.Tensor):
            flat = value.detach().flatten()
            step = max(flat.numel() // SAMPLED, 1)
            found.update(str((tuple(value.shape), value.dtype)).encode())
            found.update(flat[::step].float().cpu().numpy().tobytes())
    return found.hexdigest()


def _source(called: object) -> str:
    """The file in which a function stands, which holds what it calls beside it; its name where there is none."""
    try:
        return Path(inspect.getsourcefile(called) or "").read_text(encoding="utf-8")  # type: ignore[arg-type]
    except Exception as error:  # a callable of C, or a class of the user's own
        pass_on(error)
        return repr(type(called))
