"""What a loop asks of a language model's rows: whether answers are supervised, with their ends, and without prompts."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import Judgement, check, passed, skipped
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.place import Place
from firstfault.probe.record import TokensSeen
from firstfault.subject.subject import Subject
from firstfault.subject.tokens_seen import tokens_seen

PROVEN = 0.92
"""The weight of what the labels themselves show: no swap is needed, and none could make it more certain."""
DETECTS = {"no_supervised_tokens": PROVEN, "eos_never_supervised": PROVEN, "prompt_supervised": PROVEN}


@check(layer=Layer.PREPROCESSING, gradients=True, detects=DETECTS)
def supervised_in_loop(
    subject: Subject, *, unsupervised: float = 0.05, prompts: float = 0.5, held: float = 0.5
) -> Iterator[Judgement]:
    """Find rows of a language model's training whose answers are not learnt, never end, or have their prompts learnt.

    Measures: over the first 64 rows, as the loss is given them: the share without a supervised token, those that hold
        the token that ends an answer, and are asked for it, and the share of conversations whose user's turn is asked
        for. Turns and ends are those of the template of the tokenizer beside the loader; without one, ends are those of
        the model's settings.
    Fails when: more than `unsupervised` ask for nothing; or none is asked for the end, which stands in at least `held`
        of them; or more than `prompts` of the conversations ask for the prompt.
    Not a fault when: rows are plain texts, without turns and without ends.
    Source: transformers, DataCollatorForLanguageModeling (labels of the padding's id are −100); TRL,
        `completion_only_loss` and `assistant_only_loss`. Rows on whose prompts the training means to learn are told
        too: mute it with the reason.
    """
    try:
        seen = tokens_seen(subject)
    except Missing as reason:
        yield skipped(str(reason))
        return
    found = [*_unsupervised(seen, unsupervised), *_endless(seen, held), *_prompted(seen, prompts)]
    if found:
        yield from found
        return
    ends = f"; answers begin with {seen.first!r} and end with {seen.last!r}" if seen.first else ""
    yield passed(f"{seen.supervised:.0%} of the tokens of {seen.rows} rows are supervised{ends}", value=seen.supervised)


def _unsupervised(seen: TokensSeen, most: float) -> Iterator[Judgement]:
    share = seen.unsupervised / seen.rows
    if share > most:
        told = f"{seen.unsupervised} of {seen.rows} rows have no supervised token"
        yield _failed("no_supervised_tokens", told, share, most)


def _endless(seen: TokensSeen, least: float) -> Iterator[Judgement]:
    learnt = seen.rows - seen.unsupervised
    if not learnt or seen.end_supervised or seen.with_end < least * learnt:
        return
    why = "; the padding has the same id" if seen.pad_is_end else ""
    last = f"; the last supervised token is {seen.last!r}" if seen.last else ""
    told = f"the end of a turn is supervised in none of {learnt} rows, and stands in {seen.with_end}{why}{last}"
    yield _failed("eos_never_supervised", told, 0.0, 1.0)


def _prompted(seen: TokensSeen, most: float) -> Iterator[Judgement]:
    share = seen.prompt_supervised / seen.prompts if seen.prompts else 0.0
    if share > most:
        first = f"; the first supervised token is {seen.first!r}" if seen.first else ""
        told = f"{seen.prompt_supervised} of {seen.prompts} conversations supervise their prompt{first}"
        yield _failed("prompt_supervised", told, share, most)


def _failed(fault: str, told: str, value: float, threshold: float) -> Judgement:
    where = Place.labels()
    return Judgement(Status.FAIL, told, value=value, threshold=threshold, where=where, faults={fault: PROVEN})
