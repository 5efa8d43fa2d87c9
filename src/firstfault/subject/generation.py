"""The answers of a target that generates text: its own function, with the trained model where it takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from firstfault.errors import Missing
from firstfault.subject.subject import Subject

FIELDS = ("prompt", "messages", "input", "question", "text", "content")


def answer_of(subject: Subject, raw: Any) -> str:
    """What the target answers to a prompt, or to a request that holds one.

    Raises:
        Missing: when it has no function that generates; else whatever that raises.
    """
    generate = subject.target.safety.generate if subject.target.safety is not None else None
    if generate is None:
        raise Missing("the target declares no safety.generate that could answer")
    return str(generate(prompt_in(raw), *model_for(generate, lambda: subject.trained.model)))


def prompt_in(raw: Any) -> str:
    """The prompt in a raw request: a text, one of the usual fields, or the last message of a chat."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, list) and raw:
        return prompt_in(raw[-1])
    if not isinstance(raw, dict):
        return ""
    return next((found for name in FIELDS if (found := prompt_in(raw.get(name)))), "")


def model_for(generate: Callable[..., Any], model: Callable[[], Any]) -> tuple[Any, ...]:
    """The model, in eval mode, for a `generate(prompt, model)`; nothing for a `generate(prompt)`."""
    try:
        required = [
            entry
            for entry in inspect.signature(generate).parameters.values()
            if entry.default is entry.empty and entry.kind in (entry.POSITIONAL_ONLY, entry.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return ()
    return (model().eval(),) if len(required) > 1 else ()
