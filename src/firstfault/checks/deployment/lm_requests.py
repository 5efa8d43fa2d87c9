"""What a service of a language model makes of messages: its text and ids, where serving alone makes them wrongly."""

from __future__ import annotations

from collections.abc import Iterator

from firstfault.check import Judgement, TargetKind, check
from firstfault.checks.preprocessing.lm_requests import OF_IDS, OF_TEXT, told
from firstfault.errors import Missing
from firstfault.finding import Layer
from firstfault.subject.language_model import id_faults, seen_of, text_faults
from firstfault.subject.language_rows import request_layer
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject


@memo(of="raw")
def is_made_by_serving(subject: Subject) -> bool:
    """Whether requests are made by serving alone; Missing where the target makes them, in its preprocessing."""
    if request_layer(subject) is not Layer.DEPLOYMENT:
        raise Missing("requests are made by the target: the layer preprocessing looks at them")
    return True


@check(layer=Layer.DEPLOYMENT, needs={is_made_by_serving, text_faults}, detects=OF_TEXT, kind=TargetKind.LANGUAGE_MODEL)
def served_text(subject: Subject) -> Iterator[Judgement]:
    """Find messages that serving writes otherwise than the reference, while training rows are right, or unknown.

    Measures: as `other_rendered_text`; an endpoint is asked for the text by `/tokenize` and `/detokenize`.
    Fails when: a text differs by more than the first token.
    Source: vLLM and SGLang, `/tokenize` with messages.
    """
    yield from told(text_faults(subject), f"{seen_of(subject, 'text')} are served as the reference writes them")


@check(layer=Layer.DEPLOYMENT, needs={is_made_by_serving, id_faults}, detects=OF_IDS, kind=TargetKind.LANGUAGE_MODEL)
def served_ids(subject: Subject) -> Iterator[Judgement]:
    """Find ids that serving makes otherwise than the reference of the same messages.

    Measures: as `other_token_ids`; an endpoint is asked for its ids by `/tokenize`.
    Fails when: there are more or fewer first tokens, special tokens come in pieces, ids are cut off, or others.
    Source: vLLM and SGLang, `/tokenize` with messages.
    """
    yield from told(
        id_faults(subject), f"{seen_of(subject, 'ids')} are served with the ids of the reference's tokenizer"
    )
