"""The rows on which a language model was tuned, as the target prepares them and as the reference would."""

from __future__ import annotations

from firstfault.errors import Missing
from firstfault.finding import Layer
from firstfault.lm.cuts import Divergence
from firstfault.lm.rendering import common_start
from firstfault.lm.rows import Prepared, Row, prepared, read_rows
from firstfault.lm.token_ids import id_differences
from firstfault.subject.language_model import declared_lm, reference, tokenizer_of, tokens
from firstfault.subject.memo import memo, part
from firstfault.subject.subject import Subject
from firstfault.target.language_model import FineTuning

ROWS = 64
"""Rows of a fine-tuning that are prepared and looked into: a share of 5 % shows in them with 96 %."""


@memo(of="raw")
def tuning(subject: Subject) -> FineTuning:
    """How the model was tuned; Missing where that is not declared."""
    found = declared_lm(subject).tuning
    if found is None:
        raise Missing("the target declares no lm.tuning")
    return found


@memo(of="raw")
def tuning_rows(subject: Subject) -> tuple[Row, ...]:
    """The rows of the fine-tuning."""
    source = tuning(subject).rows
    if source is None:
        raise Missing("needs labels: no tuning.rows")
    rows = tuple(read_rows(source, subject.target.root))
    if not rows:
        raise Missing("needs labels: tuning.rows holds no row")
    return rows


@part(Layer.PREPROCESSING, "tuning.prepare", of="raw")
def prepared_rows(subject: Subject) -> tuple[Prepared, ...]:
    """The first rows as `prepare` makes them."""
    prepare = tuning(subject).prepare
    if prepare is None:
        raise Missing("needs labels: no tuning.prepare")
    return tuple(prepared(row, prepare(row.given)) for row in tuning_rows(subject)[:ROWS])


@memo(of="raw")
def request_layer(subject: Subject) -> Layer:
    """The layer of a request that is made wrongly: deployment where only serving does it, else preprocessing."""
    if declared_lm(subject).served:
        return Layer.DEPLOYMENT
    try:
        return Layer.DEPLOYMENT if rows_as_reference(subject) else Layer.PREPROCESSING
    except Missing:
        return Layer.PREPROCESSING


ROW_FAULTS = frozenset({"bos_doubled", "bos_missing", "special_token_split", "tokenizer_mismatch"})
"""What ids of training rows are compared for: how far a row goes and how it ends is the training's own matter."""


TAIL = 3
"""Ids at the end of a row in which it may differ from its text: an end token, a line's end, or none."""


@memo(of="raw")
def row_ids(subject: Subject) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """The ids of training rows without padding, and those that the reference makes of the same conversations."""
    other, found = reference(subject), []
    pad = getattr(tokenizer_of(subject), "pad_token_id", None)
    for each in prepared_rows(subject):
        if len(each.row.messages) < 2:
            continue
        ids = list(each.ids)
        while len(ids) > 1 and ids[0] == pad == ids[1]:
            ids = ids[1:]
        ids = ids[1:] if ids and ids[0] == pad != tokens(subject).bos else ids
        expected = other.encode(other.render(each.row.messages, generation=False))
        found.append((tuple(ids), tuple(expected)))
    if not found:
        raise Missing("no training row is a conversation")
    return tuple(found)


@memo(of="raw")
def rows_as_reference(subject: Subject) -> bool:
    """Whether training rows are written and encoded as the reference does it."""
    return all(common_start(ids, expected) >= min(len(ids), len(expected)) - TAIL for ids, expected in row_ids(subject))


@memo(of="raw")
def row_faults(subject: Subject) -> tuple[Divergence, ...]:
    """What differs in the ids of training rows of the same text from those of the reference."""
    known, found = tokens(subject), list[Divergence]()
    for number, (ids, expected) in enumerate(row_ids(subject), 1):
        size = min(len(ids), len(expected))
        differs = id_differences(ids[:size], expected[:size], known, f"row {number}")
        same_text = known.decode(list(ids[: size - TAIL]))[:24] in known.decode(list(expected))
        found += [each for each in differs if each.fault in ROW_FAULTS and (each.value is not None or same_text)]
    return tuple(found) if not rows_as_reference(subject) else ()
