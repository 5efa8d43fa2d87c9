"""A language model as a subject: what is asked of it, what it is compared with, and its cuts, each made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from firstfault.errors import Missing
from firstfault.finding import Layer
from firstfault.lm.adapter import Adapter, Answer, Capability
from firstfault.lm.cuts import Cut, Divergence
from firstfault.lm.local import Local, ids_of_other_text
from firstfault.lm.network import vocabulary_of
from firstfault.lm.opening import opened, opened_reference
from firstfault.lm.rendering import Template, controls_of, same_text, text_differences
from firstfault.lm.token_ids import Tokens, id_differences
from firstfault.subject.memo import memo, part
from firstfault.subject.subject import Subject
from firstfault.target.language_model import LM, Prompt

PROBES = (
    Prompt("Why is the sky blue?", id="probe question"),
    Prompt("  Zoë paid 1,234.50 € for 7 crêpes – 12/2026 😀", id="probe unicode"),
    Prompt(
        (
            {"role": "user", "content": "Name a colour."},
            {"role": "assistant", "content": "Red."},
            {"role": "user", "content": "Another one, please: which colour has the grass in spring?"},
        ),
        id="probe turns",
    ),
)
"""What is asked beside the failing prompts: letters of several bytes, digits, leading spaces, more than one turn."""


OTHER_IDS = 0.05
"""Of a vocabulary: a tokenizer to which tokens were added shares all others, one of another model hardly any."""
ANSWERED, ANSWER_TOKENS = 3, 24
"""How many failing prompts are answered, and with how many tokens: on 135 M parameters some ten CPU seconds."""


@memo(of="raw")
def declared_lm(subject: Subject) -> LM:
    """The language model as it is declared; Missing where the target has none."""
    if subject.target.lm is None:
        raise Missing("the target declares no lm")
    return subject.target.lm


@memo(of="raw")
def language_model(subject: Subject) -> Adapter:
    """The language model under examination."""
    return opened(declared_lm(subject), subject.target.root)


@memo(of="raw")
def local(subject: Subject) -> Local:
    """The language model in this process; Missing for a service."""
    model = language_model(subject)
    if not isinstance(model, Local):
        model.need(Capability.LOG_PROBS)
        raise Missing("needs a model in this process")
    return model


@memo(of="raw")
def reference(subject: Subject) -> Adapter:
    """What it is compared with: the declared reference, else the checkpoint's own template and tokenizer."""
    if declared_lm(subject).reference is not None:
        return opened_reference(declared_lm(subject), subject.target.root)
    model = language_model(subject)
    if isinstance(model, Local):
        return model.plain()
    raise Missing("needs a reference: lm.reference")


@part(Layer.MODEL, "lm.model", of="raw")
def network(subject: Subject) -> nn.Module:
    """The network under examination."""
    return local(subject).model


@part(Layer.MODEL, "lm.reference", of="raw")
def reference_network(subject: Subject) -> nn.Module:
    """The reference's network; Missing where it is the same one."""
    other = reference(subject)
    if declared_lm(subject).reference is None:
        raise Missing("needs a reference: the model is compared with no other")
    if not isinstance(other, Local):
        other.need(Capability.LOG_PROBS)
    assert isinstance(other, Local)
    return other.model


@memo(of="raw")
def prompts(subject: Subject) -> tuple[Prompt, ...]:
    """The failing prompts, then those that are always asked."""
    return (*declared_lm(subject).asked, *PROBES)


@memo(of="raw")
def template(subject: Subject) -> Template:
    """How the reference writes messages."""
    other = reference(subject)
    other.need(Capability.RENDERED)
    if isinstance(other, Local):
        other.render([{"role": "user", "content": "a"}], generation=False)  # Missing where there is no template
    tokenizer = tokenizer_of(subject)
    return Template(other.render, controls_of(tokenizer), str(getattr(tokenizer, "bos_token", None) or ""))


def tokenizer_of(subject: Subject) -> Any:
    """The reference's tokenizer, else the model's own; None where there is none in this process."""
    for each in (reference(subject), language_model(subject)):
        if isinstance(each, Local):
            return each.tokenizer
    return None


@memo(of="raw")
def tokens(subject: Subject) -> Tokens:
    """What is known of the reference's tokens."""
    tokenizer = tokenizer_of(subject)
    if tokenizer is None:
        return Tokens()
    find = getattr(tokenizer, "convert_tokens_to_ids", lambda text: None)
    controls = {text: number for text in controls_of(tokenizer) if isinstance(number := find(text), int)}
    bos, eos = (getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id"))
    return Tokens(bos, eos, controls, tokenizer.decode)


@dataclass(frozen=True)
class Way:
    """One prompt on its way to the network: its text and ids, and the reference's; None where they can't be seen.

    `unseen` is why.
    """

    prompt: Prompt
    text: str | None = None
    expected_text: str | None = None
    ids: tuple[int, ...] | None = None
    expected_ids: tuple[int, ...] | None = None
    unseen: str = ""


@part(Layer.PREPROCESSING, "lm.render or lm.encode", of="raw")
def ways(subject: Subject) -> tuple[Way, ...]:
    """Every prompt's text and ids, and those of the reference."""
    return tuple(_way(subject, prompt) for prompt in prompts(subject))


def _way(subject: Subject, prompt: Prompt) -> Way:
    model, other = language_model(subject), reference(subject)
    found = Way(prompt)
    try:
        found = replace(found, text=model.text_of(prompt), expected_text=other.text_of(prompt))
    except Missing as reason:
        found = replace(found, unseen=str(reason))
    try:
        expected = ids_of_other_text(other, found.text or "") if _other_text(subject, found) else other.ids_of(prompt)
        return replace(found, ids=tuple(model.ids_of(prompt)), expected_ids=tuple(expected))
    except Missing as reason:
        return replace(found, unseen=str(reason))


def seen_of(subject: Subject, name: str) -> str:
    """How many prompts' text or ids were seen, and why not the others', as the beginning of a sentence."""
    every = ways(subject)
    seen = [way for way in every if getattr(way, name) is not None]
    if len(seen) == len(every):
        return f"{len(every)} prompts"
    reason = next(way.unseen for way in every if getattr(way, name) is None)
    return f"{len(seen)} of {len(every)} prompts (the others: {reason})"


def _other_text(subject: Subject, way: Way) -> bool:
    if way.text is None or way.expected_text is None:
        return False
    bos = template(subject).bos if _has_template(subject) else ""
    return not same_text(way.text, way.expected_text, bos)


def _has_template(subject: Subject) -> bool:
    try:
        template(subject)
    except Missing:
        return False
    return True


@memo(of="raw")
def text_faults(subject: Subject) -> tuple[Divergence, ...]:
    """What differs in the rendered texts, prompt by prompt."""
    known = template(subject)
    seen = [way for way in ways(subject) if way.text is not None]
    if not seen:
        language_model(subject).need(Capability.RENDERED)
    return tuple(
        each for way in seen for each in text_differences(way.text or "", way.prompt.messages, known, way.prompt.id)
    )


@memo(of="raw")
def id_faults(subject: Subject) -> tuple[Divergence, ...]:
    """What differs in the ids of equal texts, prompt by prompt."""
    seen = [way for way in ways(subject) if way.ids is not None and way.expected_ids is not None]
    if not seen:
        language_model(subject).need(Capability.IDS)
        reference(subject).need(Capability.IDS)
    known = tokens(subject)
    found = [id_differences(way.ids or (), way.expected_ids or (), known, way.prompt.id) for way in seen]
    return (*_other_vocabulary(subject), *(each for differences in found for each in differences))


def _other_vocabulary(subject: Subject) -> list[Divergence]:
    """Tokens that have another id, or none, in the tokenizer than in the reference's."""
    both = [each.tokenizer for each in (language_model(subject), reference(subject)) if isinstance(each, Local)]
    if len(both) < 2 or not all(callable(getattr(each, "get_vocab", None)) for each in both):
        return []
    own, known = (each.get_vocab() for each in both)
    other = sum(own.get(token) != number for token, number in known.items())
    if other <= OTHER_IDS * len(known):
        return []
    return [Divergence(Cut.IDS, "tokenizer_mismatch", f"{other} of the reference's {len(known)} tokens have other ids")]


@part(Layer.DEPLOYMENT, "the language model", of="trained")
def answers(subject: Subject) -> tuple[tuple[Prompt, Answer], ...]:
    """The greedy answers to the failing prompts, and to one that is always asked."""
    asked = (*declared_lm(subject).asked[:ANSWERED], PROBES[0])
    model = language_model(subject)
    fits = {way.prompt.id for way in ways(subject) if _fits(model, way.ids)} if isinstance(model, Local) else None
    return tuple((each, model.answer(each, ANSWER_TOKENS)) for each in asked if fits is None or each.id in fits)


def _fits(model: Local, ids: Sequence[int] | None) -> bool:
    limit = getattr(getattr(model.model, "config", None), "max_position_embeddings", None) or 2**31
    return bool(ids) and len(ids or ()) + ANSWER_TOKENS <= limit and max(ids or (0,)) < vocabulary_of(model.model)
