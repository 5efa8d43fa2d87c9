"""What a language model is sent: its text, ids and length against those that the checkpoint asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firstfault.check import Judgement, TargetKind, check, passed, skipped
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.lm.cuts import PROOF, Divergence
from firstfault.lm.network import vocabulary_of
from firstfault.place import Place
from firstfault.subject.language_model import declared_lm, id_faults, local, network, seen_of, text_faults, ways
from firstfault.subject.language_rows import request_layer, row_faults
from firstfault.subject.memo import memo
from firstfault.subject.subject import Subject

OF_TEXT = dict.fromkeys(
    ("template_missing", "template_mismatch", "generation_prompt_missing", "default_system_lost", "truncation"), PROOF
)
"""What another text than the reference's is proof of."""
OF_IDS = dict.fromkeys(
    ("bos_doubled", "bos_missing", "special_token_split", "tokenizer_mismatch", "template_mismatch", "truncation"),
    PROOF,
)
"""What other ids than those of the reference's tokenizer are proof of."""


def told(found: Sequence[Divergence], clean: str, weight: float = PROOF) -> Iterator[Judgement]:
    """One failed judgement per fault, with the prompts that show it; a passed one where there is none."""
    if not found:
        yield passed(clean)
        return
    for fault in dict.fromkeys(each.fault for each in found):
        shown = [each for each in found if each.fault == fault]
        names = list(dict.fromkeys(each.prompt for each in shown if each.prompt))
        more = f" (so in {len(names)} prompts)" if len(names) > 1 else ""
        yield Judgement(
            Status.FAIL,
            f"{shown[0].message}{more}",
            value=shown[0].value if shown[0].value is not None else len(names),
            where=Place.cases(*names),
            faults={fault: weight},
        )


@memo(of="raw")
def is_made_here(subject: Subject) -> bool:
    """Whether requests that are made wrongly are the target's own; Missing where serving alone makes them."""
    if request_layer(subject) is not Layer.PREPROCESSING:
        raise Missing("requests are made where the model is served: the layer deployment looks at them")
    return True


@check(layer=Layer.PREPROCESSING, needs={is_made_here, text_faults}, detects=OF_TEXT, kind=TargetKind.LANGUAGE_MODEL)
def other_rendered_text(subject: Subject) -> Iterator[Judgement]:
    """Find messages that become another text than the checkpoint's template writes.

    Measures: the first difference of both texts, for the failing prompts and three that are always asked.
    Fails when: one differs by more than the first token, which the ids tell.
    Not a fault when: the reference that is declared renders alike.
    Source: transformers, chat templates: a model is tuned on the exact text of its template.
    """
    yield from told(text_faults(subject), f"{seen_of(subject, 'text')} are written as the reference writes them")


@check(
    layer=Layer.PREPROCESSING, needs={is_made_here}, detects={"template_missing": PROOF}, kind=TargetKind.LANGUAGE_MODEL
)
def no_chat_template(subject: Subject) -> Iterator[Judgement]:
    """Find messages for a model of which nobody says how they are written.

    Measures: the prompts that are messages, where there is no template.
    Fails when: a prompt holds messages, the tokenizer has no chat template, and the target renders none itself.
    Not a fault when: every prompt is a text, which goes to the model as it is.
    Source: transformers, chat templates: there is no default template.
    """
    model = local(subject)
    talk = [prompt.id for prompt in declared_lm(subject).asked if not isinstance(prompt.ask, str)]
    if model.has_template or model.render_with is not None or not talk:
        yield passed("every prompt has a template, or needs none")
        return
    yield Judgement(
        Status.FAIL,
        f"{talk[0]} holds messages, but the tokenizer has no chat template, and lm.render is not given",
        where=Place.cases(*talk),
        faults={"template_missing": PROOF},
        fix="set tokenizer.chat_template, or give lm.render",
    )


@check(layer=Layer.PREPROCESSING, needs={is_made_here}, detects=OF_IDS, kind=TargetKind.LANGUAGE_MODEL)
def other_token_ids(subject: Subject) -> Iterator[Judgement]:
    """Find ids that the reference's tokenizer does not make of the same text, in prompts and in training rows.

    Measures: the number of first tokens, then the first id that differs.
    Fails when: there are more or fewer first tokens, special tokens come in pieces, ids are cut off, or others.
    Source: measured on 135 M parameters: a doubled first token keeps .85 of a suite's pass rate; no score shows it.
    """
    found = id_faults(subject)
    try:
        rows = row_faults(subject)
    except Missing:
        rows = ()
    yield from told([*found, *rows], f"{seen_of(subject, 'ids')} have the ids of the reference's tokenizer")


@check(
    layer=Layer.PREPROCESSING,
    needs={local, network},
    detects={"tokenizer_mismatch": PROOF},
    kind=TargetKind.LANGUAGE_MODEL,
)
def ids_beyond_vocabulary(subject: Subject) -> Iterator[Judgement]:
    """Find ids that the model has no embedding for.

    Measures: the highest id of a prompt.
    Fails when: an id of a prompt is not below the rows of the embedding.
    Source: structure: torch raises an IndexError there.
    """
    rows = vocabulary_of(network(subject))
    worst = max(((max(way.ids), way.prompt.id) for way in ways(subject) if way.ids), default=None)
    if worst is None:
        yield skipped("no ids of a prompt can be seen")
        return
    highest, prompt = worst
    if highest < rows:
        yield passed(f"the highest id of a prompt is {highest}, below the {rows} rows of the embedding", value=highest)
        return
    yield Judgement(
        Status.FAIL,
        f"{prompt} holds the id {highest}, but the model's embedding has {rows} rows",
        value=highest,
        threshold=rows,
        where=Place.cases(prompt),
    )


@memo(of="raw")
def context(subject: Subject) -> int:
    """How many tokens the model takes: as declared, else as its settings say."""
    declared = declared_lm(subject).promises.context
    if declared is not None:
        return declared
    own = own_context(subject)
    if own is None:
        raise Missing("needs the context's length: lm.declared context")
    return own


def own_context(subject: Subject) -> int | None:
    """How many positions the model has, as its settings say; None where they say nothing, or nobody can ask."""
    try:
        own = getattr(getattr(network(subject), "config", None), "max_position_embeddings", None)
    except Missing:
        return None
    return own if isinstance(own, int) else None


@check(layer=Layer.PREPROCESSING, needs={context}, detects={"truncation": PROOF}, kind=TargetKind.LANGUAGE_MODEL)
def prompt_beyond_context(subject: Subject) -> Iterator[Judgement]:
    """Find prompts that are longer than the model's context.

    Measures: the ids of each prompt, and the positions that the model has.
    Fails when: they are as many as the context holds, so that nothing is left for an answer; or the declared context
        has more positions than the model.
    Source: structure: what lies beyond is cut off, or has positions that were never trained.
    """
    limit, positions = context(subject), own_context(subject)
    if positions is not None and limit > positions:
        yield Judgement(
            Status.FAIL,
            f"the declared context is {limit} tokens, and the model has {positions} positions",
            value=limit,
            threshold=positions,
            where=Place.setting("lm.declared.context"),
            fix="declare the model's own context, or use a model with a longer one",
        )
        return
    lengths = {way.prompt.id: len(way.expected_ids or way.ids or ()) for way in ways(subject)}
    longest = max(lengths, key=lambda name: lengths[name])
    beyond = [name for name, length in lengths.items() if length >= limit]
    if not beyond:
        yield passed(f"the longest prompt has {lengths[longest]} of {limit} tokens", value=lengths[longest])
        return
    yield Judgement(
        Status.FAIL,
        f"{longest} has {lengths[longest]} tokens, and the context holds {limit}",
        value=lengths[longest],
        threshold=limit,
        where=Place.cases(*beyond),
        fix="shorten the prompt knowingly, or use a model with a longer context",
    )
