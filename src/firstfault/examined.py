"""What checks are run on, as far as running them goes: parts, reached by name or by a function of the subject."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Declared(Protocol):
    """What a check's run asks of the target that is examined."""

    @property
    def mute(self) -> Mapping[str, str]:
        """The reasons for what is not to be judged."""

    @property
    def root(self) -> Path:
        """The folder of the user's code."""

    @property
    def by_gradients(self) -> bool:
        """Whether the model is trained by gradient steps."""


class Examined(Protocol):
    """What a check is run on: the `Subject` of a debug run."""

    @property
    def target(self) -> Declared:
        """What is debugged."""

    def get(self, need: Any, /) -> object:
        """The part of that name, or what a function makes of the subject.

        Raises:
            Missing: when the target lacks it.
            UserCodeError: when the user's code raised.
            TargetError: when the target can't be used.
        """

    def masked(self, text: str, /) -> str:
        """A text without personal data."""
