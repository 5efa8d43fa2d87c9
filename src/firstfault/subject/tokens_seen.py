"""The rows of tokens that a watched loop, or a target's own training, was seen to learn from."""

from __future__ import annotations

from firstfault.errors import Missing
from firstfault.probe.record import Record, TokensSeen
from firstfault.probe.token_targets import is_tokens
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject


@memo(of="trained")
def tokens_seen(subject: Subject) -> TokensSeen:
    """What was kept of them.

    Raises:
        Missing: where no loss was asked about the tokens of its model's inputs.
    """
    record = record_of_tokens(subject)
    if record is None or not record.tokens.rows:
        raise Missing("no loss was asked about the tokens of its model's inputs")
    return record.tokens


def record_of_tokens(subject: Subject) -> Record | None:
    """The record of a watched loop, or of the target's own training where its inputs are tokens."""
    record = subject.made(Subject.record)
    if record is not None or subject.target.training is None or subject.failed(Subject.recipe_and_classes):
        return record
    if not is_tokens(subject.recipe.train.x) or subject.recipe.train.y.ndim < 2:
        return None
    return subject.trained.record
