"""From a declaration to the language model that can be asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from firstfault.lm.adapter import Adapter
from firstfault.lm.endpoint import Endpoint
from firstfault.lm.function import Function
from firstfault.lm.local import Local, beside
from firstfault.target.language_model import LM


def opened(lm: LM, root: Path) -> Adapter:
    """The adapter of a declared language model, whose folders lie at `root`; nothing is loaded or asked yet."""
    if lm.endpoint is not None:
        return Endpoint.of(lm)
    if lm.generate is not None:
        return Function(lm.generate)
    return Local.of(lm, root)


def opened_reference(lm: LM, root: Path) -> Adapter:
    """The adapter of a declaration's reference: another declaration, a checkpoint's folder, or an endpoint.

    The text of a server is read from its ids, and so is that of its reference.
    """
    found = _reference(lm.reference, root)
    return replace(found, reads_back=True) if lm.endpoint is not None and isinstance(found, Local) else found


def _reference(reference: LM | str | Path, root: Path) -> Adapter:
    if isinstance(reference, LM):
        return opened(reference, root)
    if str(reference).startswith(("http://", "https://")):
        return Endpoint.of(LM(endpoint=str(reference)))
    return Local(beside(root, reference))
