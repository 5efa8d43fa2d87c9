"""One prompt on its way through a language model, cut by cut, and at which cut it first parts from the reference."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from firstfault.errors import Missing, told
from firstfault.finding import Layer
from firstfault.interrupts import pass_on
from firstfault.lm.adapter import Adapter, Answer
from firstfault.lm.cuts import UNSTABLE_MARGIN, Cut, tolerance
from firstfault.lm.local import Local, ids_of_other_text
from firstfault.lm.modules import number_format
from firstfault.lm.network import divergence
from firstfault.lm.rendering import Template, controls_of, same_text, text_differences
from firstfault.lm.token_ids import Tokens, id_differences
from firstfault.target.language_model import Prompt
from firstfault.texts import shown

LAYER_OF = {
    Cut.TEXT: Layer.PREPROCESSING,
    Cut.IDS: Layer.PREPROCESSING,
    Cut.LOG_PROBS: Layer.MODEL,
    Cut.CHOICE: Layer.DEPLOYMENT,
    Cut.STOP: Layer.DEPLOYMENT,
}
"""The cuts of a request with the layer that makes what is seen there."""
WITHOUT_THE_NETWORK = (Cut.TEXT, Cut.IDS)
"""The cuts that cost no forward pass."""
NEXT = 24
"""Tokens of the answer that are looked at for what was chosen, and where it ended."""
MOST_IDS, MOST_LETTERS = 8, 80
"""Of what was seen, for a reader."""


class State(StrEnum):
    """What is known of a cut."""

    SAME = "same"
    OTHER = "other"
    UNSEEN = "unseen"


@dataclass(frozen=True)
class Rung:
    """One cut of one prompt: whether it is the reference's, what was measured, and the fault that a difference shows.

    `shown` is what was seen there, in short.
    """

    cut: Cut
    state: State
    note: str
    fault: str = ""
    shown: str = ""

    @property
    def layer(self) -> Layer:
        """The layer that makes what is seen here."""
        return LAYER_OF[self.cut]


def first_other(rungs: Sequence[Rung]) -> Rung | None:
    """The first cut that is not the reference's."""
    return next((each for each in rungs if each.state is State.OTHER), None)


@dataclass(frozen=True)
class _Asked:
    """One prompt, the model, and the reference; the answer is asked for once."""

    model: Adapter
    prompt: Prompt
    reference: Adapter | None

    @property
    def other(self) -> Adapter:
        """The reference; Missing where there is none."""
        if self.reference is None:
            raise Missing("needs a reference: lm.reference")
        return self.reference

    @property
    def name(self) -> str:
        """What the prompt is called."""
        return self.prompt.id or "the prompt"

    @functools.cached_property
    def answer(self) -> Answer:
        """The beginning of the model's answer."""
        return self.model.answer(self.prompt, NEXT)

    @property
    def tokenizer(self) -> object:
        """The reference's tokenizer, else the model's own; None where neither is in this process."""
        return next((each.tokenizer for each in (self.reference, self.model) if isinstance(each, Local)), None)

    @property
    def bos(self) -> str:
        """The text of the first token."""
        return str(getattr(self.tokenizer, "bos_token", None) or "")

    def expected_ids(self) -> list[int]:
        """The reference's ids, of the model's own text where it is another, so that a difference is told once."""
        expected = self.other.text_of(self.prompt)
        with contextlib.suppress(Missing):
            text = self.model.text_of(self.prompt)
            if not same_text(text, expected, self.bos):
                return ids_of_other_text(self.other, text)
        return self.other.ids_of(self.prompt)


def trace(
    model: Adapter, prompt: Prompt, reference: Adapter | None = None, only: Collection[Cut] = tuple(LAYER_OF)
) -> tuple[Rung, ...]:
    """The cuts of a prompt beside the reference's, the checkpoint's own template and tokenizer where none is given."""
    other = reference or (model.plain() if isinstance(model, Local) else None)
    asked = _Asked(model, prompt, other)
    steps = ((Cut.TEXT, _text), (Cut.IDS, _ids), (Cut.LOG_PROBS, _log_probs), (Cut.CHOICE, _choice), (Cut.STOP, _stop))
    return tuple(_rung(cut, step, asked) for cut, step in steps if cut in only)


def _rung(cut: Cut, step: Callable[[_Asked], Rung], asked: _Asked) -> Rung:
    """A cut that can't be seen, and one at which the user's code raises, say why."""
    try:
        return step(asked)
    except Missing as reason:
        return Rung(cut, State.UNSEEN, str(reason))
    except Exception as error:
        pass_on(error)
        return Rung(cut, State.UNSEEN, f"could not be seen: {told(error)}")


def _text(asked: _Asked) -> Rung:
    text, expected = asked.model.text_of(asked.prompt), asked.other.text_of(asked.prompt)
    if text == expected:
        return Rung(Cut.TEXT, State.SAME, f"{len(text)} characters, as the reference writes them", shown=text)
    template = Template(asked.other.render, controls_of(asked.tokenizer), asked.bos)
    found = next(text_differences(text, asked.prompt.messages, template, asked.name), None)
    if found is None:
        return Rung(Cut.TEXT, State.SAME, "as the reference writes it, but for the first token", shown=text)
    return Rung(Cut.TEXT, State.OTHER, found.message, found.fault, text)


def _ids(asked: _Asked) -> Rung:
    ids, expected = asked.model.ids_of(asked.prompt), asked.expected_ids()
    bos, eos = (getattr(asked.tokenizer, name, None) for name in ("bos_token_id", "eos_token_id"))
    tokens = Tokens(bos, eos, {}, getattr(asked.tokenizer, "decode", str))
    found = next(iter(id_differences(ids, expected, tokens, asked.name)), None)
    seen = f"{', '.join(map(str, ids[:MOST_IDS]))}{' …' if len(ids) > MOST_IDS else ''}"
    if found is None:
        return Rung(Cut.IDS, State.SAME, f"{len(ids)} ids, as the reference's tokenizer makes them", shown=seen)
    return Rung(Cut.IDS, State.OTHER, found.message, found.fault, seen)


def _log_probs(asked: _Asked) -> Rung:
    model, other = asked.model, asked.other
    if isinstance(model, Local) and isinstance(other, Local) and model.model is other.model:
        raise Missing("needs a reference with a network of its own")
    ids = other.ids_of(asked.prompt)
    gap = float(divergence(other.log_probs(ids), model.log_probs(ids)).mean())
    most = tolerance(number_format(model.model) if isinstance(model, Local) else None)
    measured = f"{gap:.2g} nat a token from the reference's, where {most:.2g} are within the numerics"
    return Rung(Cut.LOG_PROBS, State.OTHER if gap > most else State.SAME, measured, shown=f"{gap:.2g} nat")


def _choice(asked: _Asked) -> Rung:
    """Whether each token of the answer is the likeliest behind the ones before."""
    said, ids = asked.answer, asked.model.ids_of(asked.prompt)
    if not said.ids:
        raise Missing("needs the ids of the answer")
    behind = asked.model.log_probs([*ids, *said.ids])[len(ids) - 1 : -1]
    lost = (behind.max(-1).values - behind[range(len(said.ids)), list(said.ids)]).tolist()
    other = next((place for place, each in enumerate(lost) if each > UNSTABLE_MARGIN), None)
    if other is None:
        return Rung(Cut.CHOICE, State.SAME, "each token is the likeliest behind those before", shown=_begin(said))
    message = f"token {other} of the answer is {lost[other]:.2g} nat less likely than another"
    return Rung(Cut.CHOICE, State.OTHER, message, "decoding_override", _begin(said))


def _stop(asked: _Asked) -> Rung:
    said = asked.answer
    if not said.finish:
        raise Missing("needs to know where the answer ended")
    turn = _turn_end(asked)
    if turn and turn in said.text.rstrip().removesuffix(turn):
        message = f"the answer goes on behind {turn}, which ends a turn"
        return Rung(Cut.STOP, State.OTHER, message, "stop_incomplete", _begin(said))
    ends = "ends by itself" if said.finish == "stop" else f"goes on behind its first {NEXT} tokens"
    return Rung(Cut.STOP, State.SAME, f"the answer {ends}", shown=_begin(said))


def _turn_end(asked: _Asked) -> str:
    if asked.tokenizer is None:
        return ""
    try:
        return Template((asked.reference or asked.model).render, controls_of(asked.tokenizer)).turn_end
    except Missing:
        return ""


def _begin(said: Answer) -> str:
    return shown(said.text)[:MOST_LETTERS]


def with_cut_of(model: Local, prompt: Prompt, reference: Adapter, length: int) -> Iterator[tuple[Cut, Answer]]:
    """The model's answer with one cut of the reference's in place of its own, for text and ids, where these differ."""
    try:
        own, text = model.ids_of(prompt), reference.text_of(prompt)
        if (ids := model.encode(text)) != own:
            yield Cut.TEXT, model.continued(ids, length)
        if (ids := _Asked(model, prompt, reference).expected_ids()) != own:
            yield Cut.IDS, model.continued(ids, length)
    except Missing:
        return
