"""Comparing the ids of a text with those that a reference's tokenizer makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from firstfault.lm.cuts import Cut, Divergence
from firstfault.lm.rendering import common_start


@dataclass(frozen=True)
class Tokens:
    """What is known of a reference's tokens: the first one, the control tokens by text, how ids read as text."""

    bos: int | None = None
    eos: int | None = None
    controls: Mapping[str, int] = field(default_factory=dict)
    decode: Callable[[Sequence[int]], str] = str


def id_differences(ids: Sequence[int], expected: Sequence[int], tokens: Tokens, prompt: str) -> list[Divergence]:
    """What differs in the ids of one text: the number of first tokens, and the rest, where that does not explain it."""
    ids, expected = list(ids), list(expected)
    here, there = _first_tokens(ids, tokens.bos), _first_tokens(expected, tokens.bos)
    if here < there and _text(ids, tokens) == _text(expected, tokens):
        here = there = 0  # the first token is there, in pieces
    rest, wanted = ids[here:], expected[there:]
    other = _other_difference(rest, wanted, tokens, prompt)
    if other is not None and not _begin_alike(rest, wanted, tokens):
        return [other]  # a text that is cut at its start, or other ids throughout, lack the first token too
    first = _first_token_difference(here, there, tokens, prompt)
    return [each for each in (first, other) if each is not None]


def _first_tokens(ids: Sequence[int], bos: int | None) -> int:
    return next((place for place, each in enumerate(ids) if each != bos), len(ids)) if bos is not None else 0


def _first_token_difference(here: int, there: int, tokens: Tokens, prompt: str) -> Divergence | None:
    if here > max(1, there):
        message = f"{prompt}: the ids begin with the first token ({tokens.bos}) {here} times, the reference's {there}"
        return Divergence(Cut.IDS, "bos_doubled", message, prompt, value=here)
    if here < there:
        message = f"{prompt}: the ids lack the first token ({tokens.bos}), with which the reference's begin"
        return Divergence(Cut.IDS, "bos_missing", message, prompt, value=here)
    return None


def _other_difference(ids: list[int], expected: list[int], tokens: Tokens, prompt: str) -> Divergence | None:
    if ids == expected:
        return None
    if (end := _cut_at(ids, expected, tokens)) is not None:
        short = len(expected) - len(ids)
        message = f"{prompt}: {short} of {len(expected)} ids are cut off at the {end}"
        return Divergence(Cut.IDS, "truncation", message, prompt, value=short)
    if ids[: len(expected)] == expected:
        behind = "with the end token" if ids[len(expected) :] == [tokens.eos] else f"with {ids[len(expected) :][:3]}"
        message = f"{prompt}: the ids end {behind}, behind which nothing is to be said"
        return Divergence(Cut.IDS, "template_mismatch", message, prompt)
    split = [text for text, number in tokens.controls.items() if ids.count(number) < expected.count(number)]
    if split and _begin_alike(ids, expected, tokens):
        pieces = f"{prompt}: {split[0]} is one token of the reference, and is split into several here"
        return Divergence(Cut.IDS, "special_token_split", pieces, prompt)
    place = common_start(ids, expected)
    message = (
        f"{prompt}: the ids differ from the reference's tokenizer at token {place}: "
        f"{ids[place : place + 3]} in place of {expected[place : place + 3]}"
    )
    return Divergence(Cut.IDS, "tokenizer_mismatch", message, prompt)


def _cut_at(ids: list[int], expected: list[int], tokens: Tokens) -> str | None:
    """At which end ids are cut off; where a text was cut before, the token at the cut may be another one."""
    if len(ids) >= len(expected):
        return None
    here, there = _text(ids, tokens), _text(expected, tokens)
    inner = len(ids) - 1
    if ids == expected[: len(ids)] or (inner > 0 and ids[:-1] == expected[:inner] and there.startswith(here)):
        return "end"
    if ids == expected[-len(ids) :] or (inner > 0 and ids[1:] == expected[-inner:] and there.endswith(here)):
        return "start"
    return None


def _begin_alike(ids: list[int], expected: list[int], tokens: Tokens) -> bool:
    """Whether two lists of ids read as one text, as far as the shorter one goes."""
    here, there = _text(ids, tokens), _text(expected, tokens)
    return there.startswith(here) or here.startswith(there)


def _text(ids: list[int], tokens: Tokens) -> str:
    """How ids read, without spaces and capitals: a tokenizer may put one before what was a control token, or none."""
    return "".join(tokens.decode(ids).split()).casefold()
