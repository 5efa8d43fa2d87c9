"""The tokenizer by which a loop's rows were made: found beside its loader, and asked what begins a user's turn."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Sequence
from types import FunctionType, MethodType
from typing import Any

from firstfault.interrupts import pass_on

HOLDERS = ("tokenizer", "processing_class", "data_collator")
"""Attributes under which collators of transformers and TRL hold a tokenizer, or one another."""
DEEP = 3  # a loader's collator may hold another one, and that a tokenizer
WORD = "Zebra"
"""What stands in a turn, once by itself and once after another word, so that what is common is the template's."""


def tokenizer_beside(*places: Any) -> Any:
    """The first tokenizer that objects hold, or that functions among them name; None where there is none."""
    try:
        return next((found for place in places for found in _held(place, DEEP)), None)
    except Exception as error:  # objects of others may raise whatever they are asked
        pass_on(error)
        return None


def _held(value: Any, deep: int) -> Iterator[Any]:
    if callable(getattr(value, "decode", None)) and callable(getattr(value, "convert_ids_to_tokens", None)):
        yield value
    elif deep:
        for inner in _within(value):
            yield from _held(inner, deep - 1)


def _within(value: Any) -> Iterator[Any]:
    """What an object holds under the usual names; of a function, what it takes from around it."""
    if isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, FunctionType):
        yield from (value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__)
        yield from inspect.getclosurevars(value).nonlocals.values()
    else:
        held = getattr(value, "__dict__", {})
        yield from (held[name] for name in HOLDERS if name in held)


BEGINS = 3  # ids: the first token, and two of a system's turn


class Turns:
    """How a tokenizer writes conversations: the ids that open a user's turn, and those that end an assistant's."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @functools.cached_property
    def opening(self) -> tuple[int, ...]:
        """The ids behind which the user speaks, in every turn, and the assistant does not; empty without any.

        A template may write nothing around what the user says: then what any text begins with opens no turn.
        """
        user, later = self._before(), self._before(WORD, WORD)
        said = self._before(WORD)
        size = next((size for size in range(1, len(user) + 1) if user[-size:] != said[-size:]), 0)
        both = _common(user[::-1], later[::-1])[: size + 1][::-1]
        marked = 0 < size <= len(both) and any(letter.isalpha() for letter in self.read(both))
        return tuple(both) if marked else ()

    def _before(self, *turns: str) -> list[int]:
        """The ids between some turns and what the next one says."""
        return _common(self._ids(*turns, WORD), self._ids(*turns, f"a {WORD}"))

    @functools.cached_property
    def start(self) -> tuple[int, ...]:
        """The first ids of a conversation, before any turn of the user's; empty where that comes first."""
        user = self._ids(WORD)
        before = next((at for at in range(len(user)) if tuple(user[at : at + len(self.opening)]) == self.opening), 0)
        return tuple(user[: min(before, BEGINS)])

    @functools.cached_property
    def ends(self) -> frozenset[int]:
        """The special token behind an assistant's answer; the tokenizer's end where no template writes one."""
        special = set(getattr(self._tokenizer, "all_special_ids", ()) or ())
        special |= {
            number
            for number, token in (getattr(self._tokenizer, "added_tokens_decoder", None) or {}).items()
            if getattr(token, "special", False)
        }
        whole, start = self._ids(WORD, WORD), len(self._before(WORD))
        behind = next((each for each in whole[start:] if each in special), None)
        end = behind if behind is not None else getattr(self._tokenizer, "eos_token_id", None)
        return frozenset(() if end is None else (end,))

    def _ids(self, *turns: str) -> list[int]:
        """The ids of a talk; none where the tokenizer has no template, or refuses."""
        if not getattr(self._tokenizer, "chat_template", None):
            return []
        talk = [{"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns)]
        try:
            text = self._tokenizer.apply_chat_template(talk, tokenize=False)
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        except Exception as error:  # a template may refuse a talk that ends with the user
            pass_on(error)
            return []

    def read(self, ids: Sequence[int]) -> str:
        """The text of some ids."""
        return str(self._tokenizer.decode(list(ids)))


def _common(one: Sequence[int], other: Sequence[int]) -> list[int]:
    size = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    return list(one[: min(len(one), len(other)) if size is None else size])
