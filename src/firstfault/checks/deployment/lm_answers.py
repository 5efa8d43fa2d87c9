"""How a language model's answers are decoded and ended, and whether its endpoint answers at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from firstfault.check import Judgement, TargetKind, check, passed, skipped
from firstfault.errors import Missing
from firstfault.finding import Layer, Status
from firstfault.lm.adapter import Answer
from firstfault.lm.cuts import PROOF, UNSTABLE_MARGIN
from firstfault.lm.endpoint import Endpoint
from firstfault.lm.function import Function
from firstfault.lm.local import Local
from firstfault.place import Place
from firstfault.subject.language_model import (
    ANSWER_TOKENS,
    PROBES,
    answers,
    declared_lm,
    id_faults,
    language_model,
    local,
    reference,
    template,
    text_faults,
    tokens,
)
from firstfault.subject.memo import memo, part
from firstfault.subject.subject import Subject
from firstfault.target.language_model import DECODING

NEUTRAL: dict[str, tuple[object, ...]] = {
    "do_sample": (None, False),
    "temperature": (None, 1.0),
    "top_k": (None, 0, -1),
    "top_p": (None, 1.0),
    "min_p": (None, 0.0),
    "typical_p": (None, 1.0),
    "num_beams": (None, 1),
    "repetition_penalty": (None, 1.0),
    "frequency_penalty": (None, 0.0),
    "presence_penalty": (None, 0.0),
    "no_repeat_ngram_size": (None, 0),
    "length_penalty": (None, 1.0),
}
"""The values at which a setting of decoding changes nothing; a setting that is not here is compared where declared."""
SAMPLING = frozenset({"temperature", "top_k", "top_p", "min_p", "typical_p", "seed"})
"""What matters where a token is drawn alone."""


def normal(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of decoding with one name for each thing, without those that change nothing."""
    known = {name: value for name, value in settings.items() if name in DECODING and value is not None}
    if "max_tokens" in known:
        known["max_new_tokens"] = known.pop("max_tokens")
    draws = known.get("do_sample", known.get("temperature", 0) not in (0, 0.0, None) and "temperature" in known)
    draws = bool(draws) and known.get("temperature", 1.0) != 0
    known.pop("do_sample", None)
    kept = {
        name: value
        for name, value in known.items()
        if (draws or name not in SAMPLING) and value not in NEUTRAL.get(name, ())
    }
    return {**kept, "do_sample": draws}


@memo(of="trained")
def declared_decoding(subject: Subject) -> dict[str, Any]:
    """How answers are declared to be decoded."""
    found = declared_lm(subject).promises.decoding
    if not found:
        raise Missing("needs what decoding should be: lm.declared decoding")
    return normal(found)


@check(
    layer=Layer.DEPLOYMENT,
    needs={local, declared_decoding},
    detects={"decoding_override": PROOF},
    kind=TargetKind.LANGUAGE_MODEL,
)
def other_decoding(subject: Subject) -> Iterator[Judgement]:
    """Find settings of decoding in force that are not the declared ones.

    Measures: the request's settings over those of the checkpoint's generation_config, against `lm.declared`.
    Fails when: one has another value, or one that is not declared changes the choice of tokens.
    Not a fault when: it concerns drawing, and answers are decoded greedily.
    Source: vLLM `--generation-config`: settings of the checkpoint's file are applied unless told otherwise.
    """
    wanted, held = declared_decoding(subject), normal(local(subject).effective_decoding)
    names = [name for name in {**wanted, **held} if name != "seed" and wanted.get(name) != held.get(name)]
    names = [name for name in names if name in wanted or name not in ("max_new_tokens",)]
    if not names:
        yield passed("decoding is as declared")
        return
    name = sorted(names)[0]
    yield Judgement(
        Status.FAIL,
        f"decoding has {name} = {held.get(name, 'unset')}, and declared is {wanted.get(name, 'unset')}",
        value=str(held.get(name)),
        threshold=str(wanted.get(name)),
        where=Place.setting(f"lm.decoding.{name}"),
    )


@part(Layer.DEPLOYMENT, "the language model", of="trained")
def repeated(subject: Subject) -> tuple[str, ...]:
    """The texts of one prompt, asked three times as it is served."""
    model, prompt = language_model(subject), (*declared_lm(subject).asked, PROBES[0])[0]
    if isinstance(model, Endpoint):
        return tuple(model.answer_as_served(prompt, ANSWER_TOKENS).text for _ in range(3))
    if isinstance(model, Function):
        return tuple(model.answer(prompt, ANSWER_TOKENS).text for _ in range(3))
    raise Missing("the settings of a model in this process are read, not guessed from its answers")


@check(
    layer=Layer.DEPLOYMENT,
    needs={declared_decoding, repeated},
    detects={"decoding_override": 0.92},
    kind=TargetKind.LANGUAGE_MODEL,
)
def answers_are_drawn(subject: Subject) -> Iterator[Judgement]:
    """Find a service that draws its tokens where greedy answers are declared.

    Measures: how many different texts one prompt gets in three calls with the request's own settings.
    Fails when: greedy decoding is declared, and there are two or more.
    Not a fault when: the first two tokens of the answer are as likely as each other: numerics decide then.
    Source: OpenAI's API: what a request leaves out is the server's default, and temperature's is 1.
    """
    if declared_decoding(subject)["do_sample"]:
        yield skipped("declared answers are drawn")
        return
    different = len(set(repeated(subject)))
    if different == 1:
        yield passed("three calls give one text", value=1)
        return
    if different == 2 and _is_tied(subject):
        yield passed("two texts, from tokens that are as likely as each other", value=2)
        return
    yield Judgement(
        Status.FAIL,
        f"three calls give {different} texts, where greedy decoding is declared",
        value=different,
        threshold=1,
        where=Place.setting("lm.decoding"),
    )


def _is_tied(subject: Subject) -> bool:
    """Whether the greedy answer holds a token that another one nearly equals."""
    ways = [answer for _, answer in answers(subject)]
    return any(each > -0.75 and each < -0.69 + UNSTABLE_MARGIN for answer in ways for each in answer.log_probs)


@check(layer=Layer.DEPLOYMENT, needs={answers}, detects={"stop_incomplete": PROOF}, kind=TargetKind.LANGUAGE_MODEL)
def stop_unknown(subject: Subject) -> Iterator[Judgement]:
    """Find answers that go on behind the end of a turn.

    Measures: the tokens that end an answer, against the template's end of a turn and those declared; and in a service's
        answers, the control tokens that they hold.
    Fails when: one that should end an answer is not among them, or stands inside an answer.
    Source: Llama 3: <|eot_id|> ends a turn, and was missing in eos_token_id of the first release.
    """
    model = language_model(subject)
    if isinstance(model, Local):
        yield _known_stops(subject, model)
        return
    yield _stops_in(subject, [answer for _, answer in answers(subject)])


def _known_stops(subject: Subject, model: Local) -> Judgement:
    wanted = {text: model.id_of(text) for text in map(str, declared_lm(subject).promises.stop) if text}
    wanted |= {str(each): each for each in declared_lm(subject).promises.stop if isinstance(each, int)}
    try:
        turn = template(subject).turn_end
        wanted |= {turn: tokens(subject).controls.get(turn)} if turn else {}
    except Missing:
        pass
    texts = {each for each in model.stop if isinstance(each, str)}
    lost = [text for text, number in wanted.items() if number not in model.stop_ids and text not in texts]
    if not lost:
        return passed(f"answers end at {', '.join(wanted) or 'the end token'}")
    beyond = next((answer for _, answer in answers(subject) if wanted[lost[0]] in answer.ids[:-1]), None)
    seen = f"; one goes on for {len(beyond.ids)} tokens with it inside" if beyond is not None else ""
    return Judgement(
        Status.FAIL,
        f"{lost[0]} ends a turn, but no answer ends at it{seen}",
        value=lost[0],
        where=Place.setting("lm.stop"),
        faults={"stop_incomplete": PROOF},
    )


def _stops_in(subject: Subject, found: list[Answer]) -> Judgement:
    marks = [text for text in map(str, declared_lm(subject).promises.stop) if text]
    try:
        turn = template(subject).turn_end
        marks += [turn] if turn else []
    except Missing:
        pass
    if not marks:
        return skipped("no text that ends a turn is known: lm.declared stop, or a reference with a template")
    inside = next((mark for mark in marks for answer in found if mark in answer.text.rstrip().removesuffix(mark)), None)
    if inside is None:
        return passed(f"no answer goes on behind {marks[0]}")
    return Judgement(
        Status.FAIL,
        f"an answer goes on behind {inside}, which ends a turn",
        value=inside,
        where=Place.setting("lm.stop"),
        faults={"stop_incomplete": PROOF},
    )


@check(layer=Layer.DEPLOYMENT, needs={answers}, detects={"unvalidated_input": 0.0}, kind=TargetKind.LANGUAGE_MODEL)
def empty_answers(subject: Subject) -> Iterator[Judgement]:
    """Tell of answers without a text.

    Measures: how many greedy answers hold nothing but blanks.
    Warns when: there is one; a failing prompt may ask for nothing, so that it proves nothing by itself.
    Source: OpenAI's API: content may be null or empty.
    """
    found = answers(subject)
    empty = [prompt.id for prompt, answer in found if not answer.text.strip()]
    if not empty:
        yield passed(f"each of {len(found)} answers has a text", value=0)
        return
    yield Judgement(
        Status.WARN,
        f"{len(empty)} of {len(found)} answers are empty",
        value=len(empty),
        threshold=0,
        where=Place.cases(*empty),
        faults={},
    )


@part(Layer.DEPLOYMENT, "lm.endpoint", of="trained")
def counted(subject: Subject) -> tuple[tuple[str, int, int], ...]:
    """The tokens that a service counts of each prompt, beside those that the reference makes of it."""
    if not isinstance(language_model(subject), Endpoint):
        raise Missing("only an endpoint counts tokens by itself")
    other = reference(subject)
    found = [
        (prompt.id, answer.prompt_tokens, len(other.ids_of(prompt)))
        for prompt, answer in answers(subject)
        if answer.prompt_tokens is not None
    ]
    if not found:
        raise Missing("needs usage: the endpoint counts no tokens")
    return tuple(found)


@check(
    layer=Layer.DEPLOYMENT,
    needs={counted},
    detects={"template_mismatch": 0.6, "bos_doubled": 0.5, "bos_missing": 0.5},
    kind=TargetKind.LANGUAGE_MODEL,
)
def other_token_counts(subject: Subject) -> Iterator[Judgement]:
    """Find a service that counts other numbers of prompt tokens than the reference makes.

    Measures: the difference of `usage.prompt_tokens` and the reference's ids, by prompt.
    Fails when: it is the same number in every prompt: one more is a doubled first token, one less a missing one.
    Not a fault when: ids or text can be seen; these tell more, and are looked at in place of it.
    Source: OpenAI's API, usage.
    """
    for cut in (text_faults, id_faults):
        try:
            seen = cut(subject)
        except Missing:
            continue
        yield passed("its ids or text can be seen", value=len(seen))
        return
    apart = {told - own for _, told, own in counted(subject)}
    if apart == {0}:
        yield passed("the service counts as many tokens as the reference makes", value=0)
        return
    names, gap = [name for name, _, _ in counted(subject)], sorted(apart, key=abs)[-1]
    faults = {"bos_doubled": PROOF} if apart == {1} else {"bos_missing": PROOF} if apart == {-1} else None
    yield Judgement(
        Status.FAIL,
        f"the service counts {gap:+d} prompt tokens against the reference",
        value=gap,
        threshold=0,
        where=Place.cases(*names),
        faults=faults or {"template_mismatch": 0.9},
    )
