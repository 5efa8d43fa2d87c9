"""What every language model offers, wherever it runs, and what it can't be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from firstfault.errors import Missing
from firstfault.target.language_model import Message, Prompt

if TYPE_CHECKING:
    import torch


class Capability(StrEnum):
    """Something of a language model that a check may have to see."""

    TEXT = "text"
    RENDERED = "rendered text"
    IDS = "ids"
    LOG_PROBS = "log-probs"
    ATTENTION = "attention"
    HIDDEN = "hidden states"
    LABELS = "labels"


@dataclass(frozen=True)
class Answer:
    """What came back for one prompt: its text, the ids where they are known, and why it ended there.

    `finish` is "stop", "length" or "" where nobody says. `log_probs` are those of the tokens given, and `prompt_tokens`
    how many tokens the prompt had, where the model says so.
    """

    text: str
    ids: tuple[int, ...] = ()
    finish: str = ""
    log_probs: tuple[float, ...] = ()
    tokens: tuple[str, ...] = ()
    prompt_tokens: int | None = None


class Adapter:
    """A language model that answers prompts; what a kind of it can't do is `Missing`, with the capability's name.

    `lacks` holds the reason for each capability that is not there.
    """

    lacks: Mapping[Capability, str] = {}

    def can(self, capability: Capability) -> bool:
        """Whether it can be asked for something."""
        return capability not in self.lacks

    def need(self, capability: Capability) -> None:
        """Expect a capability.

        Raises:
            Missing: where it is not there, and why.
        """
        if not self.can(capability):
            raise Missing(f"needs {capability.value}: {self.lacks[capability]}")

    def render(self, messages: Sequence[Message], *, generation: bool = True) -> str:
        """The text that messages become; with `generation`, up to where the answer begins."""
        raise Missing(f"needs {Capability.RENDERED.value}")

    def encode(self, text: str) -> list[int]:
        """The ids of a rendered text."""
        raise Missing(f"needs {Capability.IDS.value}")

    def text_of(self, prompt: Prompt) -> str:
        """The rendered text of a prompt."""
        return self.render(prompt.messages)

    def ids_of(self, prompt: Prompt) -> list[int]:
        """The ids of a prompt."""
        return self.encode(self.text_of(prompt))

    def log_probs(self, ids: Sequence[int]) -> torch.Tensor:
        """Log-probabilities `(T, V)` of the next token behind each of `T` ids, teacher-forced."""
        raise Missing(f"needs {Capability.LOG_PROBS.value}")

    def said(self, answer: Answer) -> str:
        """An answer as a person reads it: without the token that ended it, and other control tokens."""
        return answer.text

    def answer(self, prompt: Prompt, length: int) -> Answer:
        """The answer to a prompt, of at most `length` tokens, decoded greedily."""
        raise Missing(f"needs {Capability.TEXT.value}")
