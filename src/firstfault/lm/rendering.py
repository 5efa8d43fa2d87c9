"""Comparing the text that messages become with the text that a reference makes of them."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from firstfault.errors import Missing
from firstfault.interrupts import pass_on
from firstfault.lm.cuts import Cut, Divergence
from firstfault.target.language_model import Message
from firstfault.texts import shown

MARK = "firstfaultmark"
"""A content that no template writes by itself."""
TURN_MARK = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]+\]|#{2,}")
"""What templates write around turns: `<|im_start|>`, `[INST]`, `###`; words with a colon are no template's alone."""


@dataclass(frozen=True)
class Template:
    """How a reference writes messages: `render(messages, generation=…)`, its control tokens, its first token's text."""

    render: Callable[..., str]
    controls: tuple[str, ...] = ()
    bos: str = ""
    cache: dict[Any, Any] = field(default_factory=dict, compare=False)

    def whole(self, messages: Sequence[Message]) -> str:
        """The text up to where the answer begins."""
        return self.render(messages, generation=True)

    def opening(self, messages: Sequence[Message]) -> str:
        """What begins the answer; empty where the template writes nothing there."""
        closed = self.render(messages, generation=False)
        whole = self.whole(messages)
        return whole[len(closed) :] if whole.startswith(closed) else ""

    def default_system(self, messages: Sequence[Message]) -> str:
        """What the template says as the system where the messages leave it out; empty where it says nothing."""
        if any(message["role"] == "system" for message in messages):
            return ""
        try:
            own = self.whole([{"role": "system", "content": MARK}, *messages])
        except Exception as error:  # a template may refuse a system's message
            pass_on(error)
            return ""
        text = self.whole(messages)
        if MARK not in own:
            return ""
        head, tail = own.split(MARK, 1)
        if not (text.startswith(head) and text.endswith(tail)):
            return ""
        return text[len(head) : len(text) - len(tail)]

    @functools.cached_property
    def marks(self) -> tuple[str, ...]:
        """What it writes around a user's turn, without the first token."""
        written = dict.fromkeys(TURN_MARK.findall(self.whole([{"role": "user", "content": MARK}])))
        return tuple(mark for mark in written if mark != self.bos)

    @functools.cached_property
    def turn_end(self) -> str:
        """The control token behind what an assistant has said; empty where there is none."""
        talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": MARK}]
        with contextlib.suppress(Missing):
            behind = self.render(talk, generation=False).partition(MARK)[2].lstrip()
            return max((each for each in self.controls if behind.startswith(each)), key=len, default="")
        return ""


def controls_of(tokenizer: Any) -> tuple[str, ...]:
    """The texts of a tokenizer's special tokens."""
    found = list(getattr(tokenizer, "all_special_tokens", ()) or ())
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    found += [str(token) for token in added.values() if getattr(token, "special", False)]
    return tuple(dict.fromkeys(str(token) for token in found if str(token)))


def text_differences(text: str, messages: Sequence[Message], template: Template, prompt: str) -> Iterator[Divergence]:
    """What differs in a rendered text from what the template writes; a first token more or less is left to the ids."""
    whole = template.whole(messages)
    opening = template.opening(messages)
    lost = f"{prompt}: the text ends without {shown(opening)[:60]}, which begins the answer"
    system = template.default_system(messages)
    if same_text(text, whole, template.bos):
        return
    closed = whole.removesuffix(opening)
    if opening and same_text(text, closed, template.bos):
        yield Divergence(Cut.TEXT, "generation_prompt_missing", lost, prompt)
        return
    for expected, ends_early in ((whole, False), (closed, True)):
        if system.strip() and _without_system(text, expected, system, messages, template.bos):
            message = f"{prompt}: the template's own system message {shown(system.strip())[:60]} is not in the text"
            yield Divergence(Cut.TEXT, "default_system_lost", message, prompt)
            if ends_early and opening:
                yield Divergence(Cut.TEXT, "generation_prompt_missing", lost, prompt)
            return
    yield _other_text(text, whole, template, messages, prompt)


def same_text(text: str, other: str, bos: str) -> bool:
    """Whether two texts are the same but for a first token."""
    if text == other or not bos:
        return text == other
    return other in (bos + text, _behind(text, bos)) or text in (bos + other, _behind(other, bos))


def _behind(text: str, bos: str) -> str:
    """A text behind its first token, and the space that some tokenizers read there."""
    return text.removeprefix(bos).lstrip()


def _without_system(text: str, whole: str, system: str, messages: Sequence[Message], bos: str) -> bool:
    """Whether a text is another without one piece that holds the default system message, and nothing of the user's."""
    for candidate in {text, bos + text}:
        missing = _piece_missing(candidate, whole)
        if system.strip() in missing and not any(message["content"] in missing for message in messages):
            return True
    return False


def _piece_missing(text: str, whole: str) -> str:
    """The one piece that `whole` has and `text` lacks; empty where they differ otherwise."""
    if len(text) >= len(whole):
        return ""
    start = common_start(text, whole)
    rest = text[start:]
    return whole[start : len(whole) - len(rest)] if whole.endswith(rest) else ""


def _other_text(text: str, whole: str, template: Template, messages: Sequence[Message], prompt: str) -> Divergence:
    if _is_unmarked(text, template, messages):
        marks = ", ".join(template.marks[:3]) or "the template's words"
        return Divergence(Cut.TEXT, "template_missing", f"{prompt}: the text has none of {marks}", prompt)
    if len(text) < len(whole) and (whole.endswith(text) or whole.startswith(text)):
        lost = len(whole) - len(text)
        return Divergence(Cut.TEXT, "truncation", f"{prompt}: {lost} of {len(whole)} characters are cut off", prompt)
    place = common_start(text, whole)
    here, there = (shown(value[place : place + 24]) for value in (text, whole))
    message = f"{prompt}: the text differs from the template's at character {place}: {here} in place of {there}"
    return Divergence(Cut.TEXT, "template_mismatch", message, prompt)


def _is_unmarked(text: str, template: Template, messages: Sequence[Message]) -> bool:
    """Whether nothing stands around what the messages say that marks a turn, by this template or by another."""
    around = text.removeprefix(template.bos)
    for content in sorted((message["content"].strip() for message in messages), key=len, reverse=True):
        around = around.replace(content, " ") if content else around
    return not TURN_MARK.search(around) if template.marks else not around.strip()


def common_start(first: Sequence[object], second: Sequence[object]) -> int:
    """How many items two sequences begin with alike."""
    return next(
        (place for place, (one, other) in enumerate(zip(first, second, strict=False)) if one != other),
        min(len(first), len(second)),
    )
