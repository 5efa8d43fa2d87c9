"""The rows of tokens that a loop learns from: what of them is asked for, at the first calls, and what that comes to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from firstfault.interrupts import pass_on
from firstfault.probe.record import Record, TokensSeen
from firstfault.probe.row_tokenizer import Turns
from firstfault.probe.token_targets import is_tokens
from firstfault.training.losses import IGNORED, OF_CLASSES
from firstfault.training.tensors import named_tensors

MOST_ROWS, LONGEST = 64, 2_048
"""Rows that are kept, and tokens of each: a share of 5 % shows in 64 rows with 96 %."""
MOST_CALLS = 256
"""Calls of a model after which rows that no loss is asked about are waited for no longer."""
AHEAD = (1, 2, 0, 3)
"""Positions, the usual one first."""
SAME, FEWEST = 0.98, 16
"""Of the targets, that lie as many positions ahead; and how few of them tell nothing: 16 ids agree by chance never."""
BEGINS = 4
"""Tokens of a user's turn that are looked at: one may be cut off from the turn's opening by its first space."""


@dataclass(frozen=True)
class TokenRow:
    """One row: its ids without padding, and what each position is asked for."""

    ids: tuple[int, ...]
    asked: tuple[int, ...]

    @property
    def supervised(self) -> list[int]:
        """The positions that are asked for something."""
        return [place for place, wanted in enumerate(self.asked) if wanted != IGNORED]


class TokenRows:
    """Keeps the first rows that a model is given together with what a loss of classes asks of it.

    The record's `tokens` says at the end what they come to.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self.rows: list[TokenRow] = []
        self._calls = 0
        self._ids: torch.Tensor | None = None
        self._mask: torch.Tensor | None = None

    @property
    def open(self) -> bool:
        """Whether more rows are taken."""
        return len(self.rows) < MOST_ROWS and self._calls < MOST_CALLS

    def called(self, args: Any, kwargs: Mapping[str, Any]) -> None:
        """A model is called with gradients on."""
        self._calls += 1
        named = dict(named_tensors("", (args, kwargs)))
        ids = named.get("input_ids")
        if ids is None:
            plain = [value for name, value in named.items() if name != "labels" and is_tokens(value)]
            ids = next((value for value in plain if bool((value > 1).any())), None)
        if ids is not None and is_tokens(ids):
            mask = named.get("attention_mask")
            self._ids, self._mask = ids.detach(), mask if mask is not None and mask.shape == ids.shape else None

    @property
    def given(self) -> bool:
        """Whether the model was given tokens last."""
        return self._ids is not None

    def asked(self, name: str, wanted: Any, ignored: int) -> None:
        """A loss function was called with gradients on."""
        ids = self._ids
        if ids is None or not self.open or name not in OF_CLASSES or not isinstance(wanted, torch.Tensor):
            return
        whole = not wanted.is_floating_point() and len(ids) and wanted.numel() % len(ids) == 0
        width = wanted.numel() // len(ids) if whole else 0
        if width not in (ids.shape[1], ids.shape[1] - 1):
            return
        left = MOST_ROWS - len(self.rows)
        part = wanted.detach().reshape(len(ids), width)[:left, :LONGEST]
        rows: list[list[int]] = part.masked_fill(part == ignored, IGNORED).tolist()
        kept = [[True] * ids.shape[1]] * left if self._mask is None else (self._mask[:left] > 0).tolist()
        for held, asked, known in zip(ids[:left, : LONGEST + 1].tolist(), rows, kept, strict=False):
            self.rows.append(_row(held, asked, known))

    def note(self, models: Sequence[nn.Module], tokenizer: Any) -> None:
        """Put into the record what the rows come to."""
        if not self.rows:
            return
        try:
            seen, pads = self._record.tokens, _named_ids(models, tokenizer, "pad_token_id")
            turns = Turns(tokenizer) if tokenizer is not None else None
            ends = turns.ends if turns is not None else frozenset(_named_ids(models, None, "eos_token_id"))
            _count(seen, self.rows, ends)
            seen.pad_is_end = bool(pads & ends)
            _note_ahead(self._record, self.rows)
            seen.unigram, seen.bigram = cost_of_counts([_pairs(row) for row in set(self.rows)])
            if turns is not None:
                _read_turns(seen, self.rows, turns)
        except Exception as error:  # what a tokenizer of somebody's raises is no part of the training
            pass_on(error)
            self._record.passed_over["tokens"] = f"the rows of tokens can't be read: {type(error).__name__}"

    @property
    def seen_ids(self) -> Counter[int]:
        """How often each id stands in the rows."""
        return Counter(each for row in self.rows for each in row.ids)


def _row(ids: Sequence[int], asked: Sequence[int], kept: Sequence[bool]) -> TokenRow:
    """A row without what the mask takes away at its ends."""
    places = [place for place, known in enumerate(kept[: len(ids)]) if known] or [0]
    start, end = places[0], places[-1] + 1
    return TokenRow(tuple(ids[start:end]), tuple(asked[start:end]))


def _named_ids(models: Sequence[nn.Module], tokenizer: Any, name: str) -> set[int]:
    """A special id as the tokenizer and the models' settings name it."""
    places = [tokenizer, *(getattr(model, key, None) for model in models for key in ("config", "generation_config"))]
    found = [getattr(place, name, None) for place in places]
    flat = [each for value in found for each in (value if isinstance(value, list | tuple) else [value])]
    return {each for each in flat if isinstance(each, int)}


def _count(seen: TokensSeen, rows: Sequence[TokenRow], ends: frozenset[int]) -> None:
    """How much is supervised, and whether the ends of answers are."""
    learnt = [row for row in rows if row.supervised]
    seen.rows, seen.unsupervised = len(rows), len(rows) - len(learnt)
    seen.supervised = sum(len(row.supervised) for row in rows) / max(1, sum(len(row.ids) for row in rows))
    seen.with_end = sum(any(each in ends for each in row.ids) for row in learnt)
    seen.end_supervised = sum(any(row.asked[place] in ends for place in row.supervised) for row in learnt)


def _note_ahead(record: Record, rows: Sequence[TokenRow]) -> None:
    """How far ahead the targets of all rows lie, where single calls asked for too few to tell."""
    pairs = {ahead: list(_against(rows, ahead)) for ahead in AHEAD}
    shares = {ahead: sum(hits) / len(hits) for ahead, hits in pairs.items() if len(hits) >= FEWEST}
    ahead = next((ahead for ahead, share in shares.items() if share >= SAME), None)
    record.tokens.ahead = ahead
    if ahead is not None and not record.targets_ahead:
        record.targets_ahead[str(ahead)] = len(rows)


def _against(rows: Sequence[TokenRow], ahead: int) -> Iterator[bool]:
    for row in rows:
        for place in row.supervised:
            if place + ahead < len(row.ids):
                yield row.asked[place] == row.ids[place + ahead]


def _pairs(row: TokenRow) -> list[tuple[int, int]]:
    """Each supervised position's own token, and what it is asked for."""
    return [(row.ids[place], row.asked[place]) for place in row.supervised if place < len(row.ids)]


def cost_of_counts(rows: Sequence[Sequence[tuple[int, int]]]) -> tuple[float, float]:
    """The mean loss, in nat a token, of counts of single tokens and of pairs, made of every row but the one judged.

    A token's share is (count + 1) / (all + kinds), and a pair's (count + share of the token) / (count of its first
    token + 1).
    """
    every = _Counts(pair for row in rows for pair in row)
    costs = [cost for row in rows for cost in every.without(row)]
    if not costs:
        return math.nan, math.nan
    return sum(one for one, _ in costs) / len(costs), sum(two for _, two in costs) / len(costs)


class _Counts:
    """How often tokens, and pairs of them, were seen."""

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        self.pairs = Counter(pairs)
        self.first, self.wanted = Counter[int](), Counter[int]()
        for (first, wanted), count in self.pairs.items():
            self.first[first] += count
            self.wanted[wanted] += count

    def without(self, row: Sequence[tuple[int, int]]) -> Iterator[tuple[float, float]]:
        """The cost of each pair of a row, alone and as a pair, by all other rows."""
        own = _Counts(row)
        total, kinds = self.wanted.total() - len(row), len(self.wanted)
        for first, wanted in row:
            alone = (self.wanted[wanted] - own.wanted[wanted] + 1) / (total + kinds)
            known = self.pairs[first, wanted] - own.pairs[first, wanted]
            both = (known + alone) / (self.first[first] - own.first[first] + 1)
            yield -math.log(alone), -math.log(both)


def _read_turns(seen: TokensSeen, rows: Sequence[TokenRow], turns: Turns) -> None:
    """Whether what the user says is asked for, and what answers begin and end with."""
    learnt = [row for row in rows if row.supervised]
    held = [(row, behind) for row in learnt if (behind := _behind(row.ids, turns.opening))]
    ahead = max(0, 1 if seen.ahead is None else seen.ahead)
    seen.prompts, seen.start = len(held), list(turns.start)
    seen.prompt_supervised = sum(any(_asks_at(row, start - ahead) for start in behind) for row, behind in held)
    starts = Counter(row.asked[row.supervised[0]] for row in learnt)
    ends = Counter(row.asked[row.supervised[-1]] for row in learnt)
    seen.first, seen.last = (turns.read([each.most_common(1)[0][0]]) if each else "" for each in (starts, ends))


def _behind(ids: Sequence[int], opening: Sequence[int]) -> list[int]:
    """The places behind every opening of a user's turn."""
    size = len(opening)
    if not size:
        return []
    return [at + size for at in range(len(ids) - size) if tuple(ids[at : at + size]) == tuple(opening)]


def _asks_at(row: TokenRow, start: int) -> bool:
    """Whether most of the first tokens of a turn are asked for."""
    asked = row.asked[max(0, start) : max(0, start) + BEGINS]
    return sum(each != IGNORED for each in asked) > len(asked) / 2
