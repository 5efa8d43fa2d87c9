"""A model and its tokenizer as a function prompt -> text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstfault.errors import TargetError
from firstfault.lm.adapter import Adapter
from firstfault.target.language_model import LM, Prompt

NEW_TOKENS = 128
"""Of an answer, unless told: enough for the opening that the scorers read, and a tenth of a minute on a CPU."""


def generate_with(model: Any, tokenizer: Any, *, new_tokens: int = NEW_TOKENS, **options: Any) -> Callable[[str], str]:
    """A function that answers a prompt with a transformers model, by its chat template where it has one.

    Greedy unless `options`, which go to `model.generate`, say otherwise.

    Raises:
        TargetError: when the model can't generate, or the tokenizer can't be called.
        ValueError: from the function, for a prompt beyond the model's context.
    """
    if not callable(getattr(model, "generate", None)):
        raise TargetError(f"model must have a method generate, as transformers models have, but is a {_class(model)}")
    if not callable(tokenizer):
        raise TargetError(f"tokenizer must be callable with a text, but is a {_class(tokenizer)}")
    context = getattr(getattr(model, "config", None), "max_position_embeddings", None)

    def generate(prompt: str) -> str:
        import torch

        encoded = _encoded(tokenizer, prompt).to(getattr(model, "device", "cpu"))
        length = encoded["input_ids"].shape[1]
        if context is not None and length >= context:
            raise ValueError(f"the prompt has {length} tokens, and the model's context {context}")
        room = new_tokens if context is None else min(new_tokens, context - length)
        was_training = getattr(model, "training", False)
        if was_training:
            model.eval()
        try:
            with torch.no_grad():
                ids = model.generate(**encoded, **{"do_sample": False, "max_new_tokens": room, **options})
        finally:
            if was_training:
                model.train()
        return str(tokenizer.decode(ids[0, length:], skip_special_tokens=True))

    return generate


def generate_of(lm: LM, root: Path) -> Spoken:
    """A function that answers a prompt with a declared language model, whose folders lie at `root`."""
    from firstfault.lm.opening import opened

    return Spoken(opened(lm, root))


@dataclass(frozen=True)
class Spoken:
    """Answers prompts with a language model, without the control tokens that end an answer."""

    lm: Adapter

    def __call__(self, prompt: str) -> str:
        """The answer to a prompt."""
        return self.lm.said(self.lm.answer(Prompt(prompt), NEW_TOKENS))


def _encoded(tokenizer: Any, prompt: str) -> Any:
    if not getattr(tokenizer, "chat_template", None):
        return tokenizer(prompt, return_tensors="pt")
    messages = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)


def count_with(tokenizer: Any) -> Callable[[str], int]:
    """How many tokens a text has."""
    return lambda text: len(tokenizer(text)["input_ids"])


def _class(value: object) -> str:
    return type(value).__name__
