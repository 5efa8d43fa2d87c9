"""What of a fine-tuning's rows is supervised: decoded from the labels alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from firstfault.check import Judgement, TargetKind, check, passed, skipped
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.interrupts import pass_on
from firstfault.lm.cuts import PROOF
from firstfault.lm.rows import IGNORED, Prepared, shift_of, words
from firstfault.place import Kind, Place
from firstfault.subject.language_model import template, tokenizer_of, tokens
from firstfault.subject.language_rows import prepared_rows, tuning
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject


@memo(of="raw")
def row_tokenizer(subject: Subject) -> Any:
    """The tokenizer by which labels are read."""
    found = tokenizer_of(subject)
    if found is None:
        raise Missing("needs a tokenizer: lm.tokenizer, or that of a reference")
    return found


def _rows(rows: Sequence[int]) -> Place:
    return Place(Kind.ROW, tuple(map(str, rows)))


@check(
    layer=Layer.PREPROCESSING,
    needs={prepared_rows},
    detects={"no_supervised_tokens": PROOF},
    kind=TargetKind.LANGUAGE_MODEL,
)
def rows_without_supervision(subject: Subject, *, most: float = 0.05) -> Iterator[Judgement]:
    """Find rows of which no token is supervised.

    Measures: the share of the first rows whose labels are all −100.
    Fails when: it is more than `most`: an answer cut off, or a mark of its beginning that is never found.
    Source: TRL, DataCollatorForCompletionOnlyLM warns of each such row; the bound leaves room for a few long prompts.
    """
    rows = prepared_rows(subject)
    empty = [number for number, row in enumerate(rows, 1) if not row.supervised]
    share = len(empty) / max(1, len(rows))
    told = f"{len(empty)} of {len(rows)} rows have no supervised token"
    if not rows or share <= most:
        yield passed(told, value=share)
        return
    yield Judgement(Status.FAIL, told, value=share, threshold=most, where=_rows(empty))


@check(
    layer=Layer.PREPROCESSING,
    needs={prepared_rows, row_tokenizer},
    detects={"eos_never_supervised": PROOF},
    kind=TargetKind.LANGUAGE_MODEL,
)
def end_not_supervised(subject: Subject) -> Iterator[Judgement]:
    """Find rows whose answers never end: the end of a turn is not among the labels.

    Measures: in how many rows the token that ends an answer is supervised.
    Fails when: in none. Where padding has the end's id, its labels are often masked together with the padding's.
    Not a fault when: rows are plain texts without an end, and the reference's template knows none.
    Source: transformers, DataCollatorForLanguageModeling: labels of the padding's id are −100.
    """
    rows = [row for row in prepared_rows(subject) if row.supervised]
    ends = end_ids(subject)
    if not rows or not ends:
        yield skipped("no supervised row, or no token that ends a turn")
        return
    hits = sum(any(row.labels[place] in ends for place in row.supervised) for row in rows)
    told = f"the end of a turn is supervised in {hits} of {len(rows)} rows"
    if hits:
        yield passed(told, value=hits)
        return
    pad = getattr(row_tokenizer(subject), "pad_token_id", None)
    why = "; the padding has the same id" if pad in ends else ""
    held = sum(any(each in ends for each in row.ids) for row in rows)
    yield Judgement(
        Status.FAIL,
        f"{told}, and stands in {held} of them{why}",
        value=hits,
        threshold=1,
        where=_rows(range(1, len(rows) + 1)),
    )


def end_ids(subject: Subject) -> frozenset[int]:
    """The ids that end an answer: the template's end of a turn, and the tokenizer's end."""
    known = tokens(subject)
    try:
        turn = known.controls.get(template(subject).turn_end)
    except Missing:
        turn = None
    return frozenset(each for each in ((turn,) if turn is not None else (known.eos,)) if each is not None)


@check(
    layer=Layer.PREPROCESSING,
    needs={prepared_rows, row_tokenizer},
    detects={"prompt_supervised": 0.92},
    kind=TargetKind.LANGUAGE_MODEL,
)
def prompt_among_labels(subject: Subject, *, most: float = 0.5) -> Iterator[Judgement]:
    """Find rows in which the question is learnt beside the answer.

    Measures: the share of rows whose supervised text holds what the user says.
    Fails when: it is more than `most`.
    Not a fault when: rows are plain texts, or answers repeat their questions.
    Source: TRL, `completion_only_loss` and `assistant_only_loss`.
    """
    read = row_tokenizer(subject).decode
    asked = [row for row in prepared_rows(subject) if row.supervised and len(row.row.messages) > 1]
    if not asked:
        yield skipped("no supervised row has a prompt")
        return
    held = [number for number, row in enumerate(asked, 1) if _holds_prompt(row, read)]
    share = len(held) / len(asked)
    told = f"{len(held)} of {len(asked)} rows supervise their prompt"
    if share <= most:
        yield passed(told, value=share)
        return
    yield Judgement(Status.FAIL, told, value=share, threshold=most, where=_rows(held))


def _holds_prompt(row: Prepared, read: Callable[[list[int]], str]) -> bool:
    said = " ".join(words(read([row.labels[place] for place in row.supervised])))
    users = [" ".join(words(turn["content"])) for turn in row.row.messages if turn["role"] == "user"]
    answers = [" ".join(words(turn["content"])) for turn in row.row.messages if turn["role"] == "assistant"]
    return any(text and text in said and not any(text in answer for answer in answers) for text in users)


@check(
    layer=Layer.PREPROCESSING,
    needs={prepared_rows},
    detects={"labels_shifted_twice": PROOF},
    kind=TargetKind.LANGUAGE_MODEL,
)
def shifted_twice(subject: Subject) -> Iterator[Judgement]:
    """Find labels that are the next tokens already, before a loss that shifts them.

    Measures: whether labels are the ids of their own places or of the next ones; and of a loss of the user's, whether
        it is lower for a model that knows the next token, or the one after.
    Fails when: the loss asks for the token after the next.
    Source: transformers: the labels of a causal language model are its ids, and the model shifts them.
    """
    rows = [row for row in prepared_rows(subject) if row.supervised]
    if not rows:
        yield skipped("no supervised row")
        return
    shift = shift_of(rows)
    loss = tuning(subject).loss
    ahead = shift + 1 if loss is None else _asked_ahead(rows[0], loss)
    if ahead is None:
        yield skipped("the loss can't be asked with a model of one row")
        return
    if ahead == 1:
        yield passed("labels are shifted once", value=ahead)
        return
    if ahead == 0:
        yield skipped("the loss shifts no label, and the rows neither")
        return
    yield Judgement(
        Status.FAIL,
        f"the loss is lowest for the token {ahead} places ahead: rows and loss both shift the labels",
        value=ahead,
        threshold=1,
        where=Place.setting("tuning.prepare"),
    )


class _Oracle(nn.Module):
    """A model that is sure of the id that stands `ahead` places behind each."""

    def __init__(self, ahead: int, width: int) -> None:
        super().__init__()
        self.ahead, self.width = ahead, width
        self.config = SimpleNamespace(vocab_size=width)
        self.sure = nn.Parameter(torch.tensor(20.0))

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor | None = None, **others: Any) -> Any:
        wanted = torch.roll(input_ids, -self.ahead, dims=1)
        logits = self.sure * nn.functional.one_hot(wanted, self.width).float()
        loss = None
        if labels is not None:
            flat = logits[:, :-1].reshape(-1, self.width)
            loss = nn.functional.cross_entropy(flat, labels[:, 1:].reshape(-1), ignore_index=IGNORED)
        return SimpleNamespace(logits=logits, loss=loss)


def _asked_ahead(row: Prepared, loss: Callable[[Any, Any], Any]) -> int | None:
    """How many places ahead a loss looks: 0, 1 or 2; None where it can't be asked."""
    width = max(*row.ids, *row.labels) + 1
    ids = torch.tensor([row.ids])
    batch = {"input_ids": ids, "labels": torch.tensor([row.labels]), "attention_mask": torch.ones_like(ids)}
    try:
        values = [torch.as_tensor(loss(_Oracle(ahead, width), dict(batch))).item() for ahead in range(3)]
    except BaseException as error:
        pass_on(error)
        return None
    return min(range(3), key=lambda ahead: values[ahead])
