"""The answers of a target that generates text: its own function, with the trained model where it takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from firstfault.errors import Missing
from firstfault.subject.subject import Subject

PROMPTS = ("prompt", "messages", "input", "text", "question")


def answer_of(subject: Subject, raw: Any) -> str:
    """What the target answers to a prompt, or to a request that holds one.

    Raises:
        Missing: when it has no function that generates; else whatever that raises.
    """
    generate = subject.target.safety.generate if subject.target.safety is not None else None
    if generate is None:
        raise Missing("the target declares no safety.generate that could answer")
    return str(generate(prompt_of(raw), *model_for(subject, generate)))


def prompt_of(raw: Any) -> Any:
    """The prompt in a request: itself, or the field that is called so; of a chat, what was said last."""
    if isinstance(raw, dict):
        found = next((raw[name] for name in PROMPTS if name in raw), None)
        return prompt_of(next(iter(raw.values())) if found is None and len(raw) == 1 else found)
    if isinstance(raw, list) and raw and isinstance(raw[-1], dict):
        return raw[-1].get("content", "")
    return raw


def model_for(subject: Subject, generate: Callable[..., Any]) -> tuple[Any, ...]:
    """The trained model, in eval mode, for a `generate(prompt, model)`; nothing for a `generate(prompt)`."""
    try:
        required = [
            entry
            for entry in inspect.signature(generate).parameters.values()
            if entry.default is entry.empty and entry.kind in (entry.POSITIONAL_ONLY, entry.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return ()
    return (subject.trained.model.eval(),) if len(required) > 1 else ()
