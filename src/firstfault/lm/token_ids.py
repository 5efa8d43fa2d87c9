"""Comparing the ids of a text with those that a reference's tokenizer makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from firstfault.lm.cuts import Cut, Divergence
from firstfault.lm.rendering import common_start

LEAST_CUT = 2
"""So many ids less, at one end, are a text that is cut."""


@dataclass(frozen=True)
class Tokens:
    """What is known of a reference's tokens: the first one, the control tokens by text, how ids read as text."""

    bos: int | None = None
    eos: int | None = None
    controls: Mapping[str, int] = field(default_factory=dict)
    decode: Callable[[Sequence[int]], str] = str


def id_differences(ids: Sequence[int], expected: Sequence[int], tokens: Tokens, prompt: str) -> list[Divergence]:
    """What differs in the ids of one text, the number of first tokens before all else."""
    ids, expected = list(ids), list(expected)
    found = []
    here, there = _first_tokens(ids, tokens.bos), _first_tokens(expected, tokens.bos)
    if here < there and tokens.decode(ids) == tokens.decode(expected):
        here = there = 0  # the first token is there, in pieces
    if here > max(1, there):
        found.append(
            Divergence(
                Cut.IDS,
                "bos_doubled",
                f"{prompt}: the ids begin with the first token ({tokens.bos}) {here} times, the reference's {there}",
                prompt,
                value=here,
            )
        )
    elif here < there:
        message = f"{prompt}: the ids lack the first token ({tokens.bos}), with which the reference's begin"
        found.append(Divergence(Cut.IDS, "bos_missing", message, prompt, value=here))
    other = _other_difference(ids[here:], expected[there:], tokens, prompt)
    return found + ([other] if other is not None else [])


def _first_tokens(ids: Sequence[int], bos: int | None) -> int:
    return next((place for place, each in enumerate(ids) if each != bos), len(ids)) if bos is not None else 0


def _other_difference(ids: Sequence[int], expected: Sequence[int], tokens: Tokens, prompt: str) -> Divergence | None:
    if ids == expected:
        return None
    split = [text for text, number in tokens.controls.items() if list(ids).count(number) < list(expected).count(number)]
    short = len(expected) - len(ids)
    if short >= LEAST_CUT and (ids == expected[:-short] or ids == expected[short:]):
        message = f"{prompt}: {short} of {len(expected)} ids are cut off at the {_end(ids, expected)}"
        return Divergence(Cut.IDS, "truncation", message, prompt, value=short)
    if split and len(ids) >= len(expected):
        pieces = f"{prompt}: {split[0]} is one token of the reference, and is split into several here"
        return Divergence(Cut.IDS, "special_token_split", pieces, prompt)
    if tokens.eos is not None and list(ids) == [*expected, tokens.eos]:
        message = f"{prompt}: the ids end with the end token, behind which nothing is to be said"
        return Divergence(Cut.IDS, "template_mismatch", message, prompt)
    place = common_start(ids, expected)
    message = (
        f"{prompt}: the ids differ from the reference's tokenizer at token {place}: "
        f"{list(ids[place : place + 3])} in place of {list(expected[place : place + 3])}"
    )
    return Divergence(Cut.IDS, "tokenizer_mismatch", message, prompt)


def _end(ids: Sequence[int], expected: Sequence[int]) -> str:
    return "end" if list(ids) == list(expected[: len(ids)]) else "start"
