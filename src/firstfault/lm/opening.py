"""From a declaration to the language model that can be asked."""

from __future__ import annotations

from pathlib import Path

from firstfault.lm.adapter import Adapter
from firstfault.lm.endpoint import Endpoint
from firstfault.lm.function import Function
from firstfault.lm.local import Local
from firstfault.target.language_model import LM


def opened(lm: LM) -> Adapter:
    """The adapter of a declared language model; nothing is loaded or asked yet."""
    if lm.endpoint is not None:
        return Endpoint.of(lm)
    if lm.generate is not None:
        return Function(lm.generate)
    return Local.of(lm)


def opened_reference(reference: LM | str | Path) -> Adapter:
    """The adapter of a reference: a declaration, a checkpoint's folder, or an endpoint."""
    if isinstance(reference, LM):
        return opened(reference)
    if str(reference).startswith(("http://", "https://")):
        return Endpoint.of(LM(endpoint=str(reference)))
    return Local(reference)
