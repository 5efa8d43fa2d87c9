"""A language model of which nothing is known but a function that answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

from firstfault.lm.adapter import Adapter, Answer, Capability
from firstfault.target.language_model import Prompt
from firstfault.texts import shown


@dataclass(frozen=True)
class Function(Adapter):
    """`generate(prompt)` gives a text; a second parameter gets the number of tokens that are wanted."""

    generate: Callable[..., str]
    lacks: dict[Capability, str] = field(
        default_factory=lambda: {
            capability: "a function gives text alone" for capability in Capability if capability is not Capability.TEXT
        }
    )

    def answer(self, prompt: Prompt, length: int) -> Answer:
        """What the function returns.

        Raises:
            TypeError: where that is no text.
        """
        ask = prompt.ask if isinstance(prompt.ask, str) else prompt.messages
        wanted = (length,) * (len(inspect.signature(self.generate).parameters) > 1)
        text = self.generate(ask, *wanted)
        if not isinstance(text, str):
            raise TypeError(f"generate must return a text, but returned {shown(text)[:60]}")
        return Answer(text)
