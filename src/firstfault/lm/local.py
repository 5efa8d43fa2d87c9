"""A model and its tokenizer in this process, of transformers or of the user's own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from firstfault.errors import Missing, TargetError, told
from firstfault.extras import missing_extra
from firstfault.lm.adapter import Adapter, Answer, Capability
from firstfault.lm.network import call, device_of, evaluated, log_probs, logits_of, positions_from, state_of
from firstfault.target.language_model import LM, Message, Prompt
from firstfault.texts import shown

Choose = Callable[[torch.Tensor], Any]
"""How the next token is chosen of its logits."""


@dataclass(frozen=True)
class Local(Adapter):
    """A language model whose every cut can be seen; functions of the user's own stand where they are given."""

    model_source: Any
    tokenizer_source: Any = None
    render_with: Callable[..., str] | None = None
    encode_with: Callable[..., Any] | None = None
    collate_with: Callable[..., Mapping[str, Any]] | None = None
    batch: int = 1
    decoding: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str | int, ...] = ()
    lacks: Mapping[Capability, str] = field(default_factory=dict)
    reads_back: bool = False
    """Whether its texts are those that their ids read as, to be compared with a server's, which shows no others."""

    @classmethod
    def of(cls, lm: LM, root: Path) -> Local:
        """The model that a declaration describes; its folders are beside the target's file."""
        lacks = {} if lm.tuning is not None and lm.tuning.prepare is not None else {Capability.LABELS: "no tuning rows"}
        model, tokenizer = beside(root, lm.model), beside(root, lm.tokenizer)
        own = (lm.render, lm.encode, lm.collate)
        return cls(model, tokenizer, *own, lm.batch, lm.decoding, tuple(lm.stop), lacks)

    def plain(self) -> Local:
        """The same checkpoint with its own template and tokenizer, one prompt at a time."""
        known = Local(self.model_source, self.tokenizer_source, lacks=self.lacks)
        for name in ("model", "tokenizer"):
            if name in self.__dict__:
                known.__dict__[name] = self.__dict__[name]
        return known

    @functools.cached_property
    def model(self) -> nn.Module:
        """The network, loaded when it is first needed."""
        found = self.model_source
        if isinstance(found, str | Path):
            found = _from_folder("AutoModelForCausalLM", found)
        elif not isinstance(found, nn.Module):
            found = found()
        if not isinstance(found, nn.Module):
            raise TargetError(f"lm.model must be a network, but got {shown(found)[:60]}")
        if getattr(getattr(found, "config", None), "is_encoder_decoder", False):
            kind = type(found).__name__
            raise TargetError(
                f"lm.model must be a causal language model, but {kind} has an encoder and a decoder; "
                "what it answers can be examined by lm.generate"
            )
        return found

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        source = self.tokenizer_source if self.tokenizer_source is not None else self.model_source
        if isinstance(source, str | Path):
            return _from_folder("AutoTokenizer", source)
        found = source if hasattr(source, "decode") or not callable(source) else source()
        if not callable(getattr(found, "decode", None)):
            raise TargetError(f"lm.tokenizer must be a tokenizer with encode and decode, but got {shown(found)[:60]}")
        return found

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer says how messages are written."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def render(self, messages: Sequence[Message], *, generation: bool = True) -> str:
        """By the user's function for a prompt, else by the tokenizer's template."""
        text = self._written(messages, generation)
        return self.read(text) if self.reads_back else text

    def read(self, text: str) -> str:
        """How the ids of a text read: some tokenizers lose spaces and capitals on the way."""
        return str(self.tokenizer.decode(self.encode(text)))

    def _written(self, messages: Sequence[Message], generation: bool) -> str:
        if self.render_with is not None and generation:
            text = self.render_with([dict(message) for message in messages])
            if not isinstance(text, str):
                raise TargetError(f"lm.render must return a text, but returned {shown(text)[:60]}")
            return text
        if not self.has_template:
            raise Missing(f"needs {Capability.RENDERED.value}: the tokenizer has no chat template")
        written = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=generation
        )
        return str(written)

    def text_of(self, prompt: Prompt) -> str:
        """A text goes to a model without a template as it is."""
        return str(prompt.ask) if self._is_plain(prompt) else self.render(prompt.messages)

    def ids_of(self, prompt: Prompt) -> list[int]:
        """Those of the text as it is written."""
        return self.encode(str(prompt.ask) if self._is_plain(prompt) else self._written(prompt.messages, True))

    def _is_plain(self, prompt: Prompt) -> bool:
        return isinstance(prompt.ask, str) and self.render_with is None and not self.has_template

    def encode(self, text: str) -> list[int]:
        """By the user's function, else by the tokenizer: special tokens are added where no template writes them."""
        if self.encode_with is not None:
            return ids_in(self.encode_with(text))
        if not callable(self.tokenizer):
            return ids_in(self.tokenizer.encode(text))
        return ids_in(self.tokenizer(text, add_special_tokens=not self.has_template, return_attention_mask=False))

    def log_probs(self, ids: Sequence[int]) -> torch.Tensor:
        """Of the network on one sequence alone."""
        return log_probs(self.model, ids)

    def collated(self, sequences: Sequence[Sequence[int]]) -> Mapping[str, torch.Tensor]:
        """Several sequences as the inputs of one call: the user's, or padded as the tokenizer says, with positions."""
        if self.collate_with is not None:
            made = self.collate_with([list(ids) for ids in sequences])
            return {name: torch.as_tensor(value) for name, value in made.items()}
        return padded(self.tokenizer, sequences, getattr(self.tokenizer, "padding_side", "left"))

    def last_log_probs(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log-probabilities `(N, V)` behind the last column of a batch, from which a batch is continued."""
        device = device_of(self.model)
        with evaluated(self.model):
            moved = {name: value.to(device) for name, value in inputs.items()}
            return logits_of(call(self.model, moved))[:, -1].float().log_softmax(-1)

    @functools.cached_property
    def effective_decoding(self) -> dict[str, Any]:
        """The settings of decoding that are in force: those of the request over those of the checkpoint's file."""
        own: dict[str, Any] = getattr(getattr(self.model, "generation_config", None), "to_dict", dict)()
        return {**own, **self.decoding}

    @functools.cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids at which an answer ends: the checkpoint's, else the tokenizer's, and those that are declared."""
        own = self.effective_decoding.get("eos_token_id")
        own = own if own is not None else getattr(self.tokenizer, "eos_token_id", None)
        found = [*(own if isinstance(own, list | tuple) else [own]), *map(self.id_of, self.stop)]
        return frozenset(each for each in found if each is not None)

    def id_of(self, token: str | int) -> int | None:
        """The id of a token's text; None where it is no single token."""
        if isinstance(token, int):
            return token
        found = (
            self.tokenizer.convert_tokens_to_ids(token) if hasattr(self.tokenizer, "convert_tokens_to_ids") else None
        )
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        return found if isinstance(found, int) and found != unknown else None

    def answer(self, prompt: Prompt, length: int) -> Answer:
        """Greedy decoding that ends at the stop tokens."""
        return self.continued(self.ids_of(prompt), length)

    def said(self, answer: Answer) -> str:
        """By the tokenizer; one of the user's own leaves out the token at the end alone."""
        ids = list(answer.ids[:-1] if answer.ids[-1:] and answer.ids[-1] in self.stop_ids else answer.ids)
        known = {"skip_special_tokens": True} if hasattr(self.tokenizer, "all_special_ids") else {}
        return str(self.tokenizer.decode(ids, **known))

    def continued(self, ids: Sequence[int], length: int, choose: Choose = torch.argmax) -> Answer:
        """What the model says behind some ids; `choose` takes the logits `(V,)` of one token."""
        said, finish = _said(self.model, ids, length, self.stop_ids, choose)
        return Answer(str(self.tokenizer.decode(said)), tuple(said), finish, prompt_tokens=len(ids))


def ids_of_other_text(reference: Adapter, text: str) -> list[int]:
    """The reference's ids of a text that is not its own, so that a difference is told once.

    Raises:
        Missing: when the text was read from ids, and is not what they were made of.
    """
    if isinstance(reference, Local) and reference.reads_back and reference.read(text) != text:
        raise Missing("the text that the ids read as is not the one that they were made of")
    return reference.encode(text)


def beside(root: Path, source: Any) -> Any:
    """A folder's path as it is from the root; anything else as it is."""
    return root / Path(source).expanduser() if isinstance(source, str | Path) else source


def _from_folder(kind: str, place: str | Path) -> Any:
    if not Path(place).expanduser().is_dir():
        raise TargetError(f"lm.model must be a checkpoint's folder, but there is no folder {place}")
    try:
        import transformers

        return getattr(transformers, kind).from_pretrained(str(Path(place).expanduser()), local_files_only=True)
    except Exception as error:
        lacking = missing_extra(error, "a language model")
        raise lacking or TargetError(f"{place} must hold a checkpoint of transformers, but: {told(error)}") from error


def ids_in(value: Any) -> list[int]:
    """The ids of one sequence in a list, an array, a tensor or a tokenizer's encoding."""
    if isinstance(value, Mapping):
        value = value.get("input_ids")
    value = getattr(value, "ids", value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], list | tuple):
        value = value[0]
    whole = isinstance(value, list | tuple) and all(isinstance(each, int) for each in value)
    if not whole:
        raise TargetError(f"lm.encode must return the ids of one text, but returned {shown(value)[:60]}")
    return list(value)


def padded(tokenizer: Any, sequences: Sequence[Sequence[int]], side: str) -> dict[str, torch.Tensor]:
    """Sequences padded on one side, with their mask and the positions that follow from it."""
    pad = getattr(tokenizer, "pad_token_id", None)
    pad = pad if pad is not None else getattr(tokenizer, "eos_token_id", None) or 0
    width = max(map(len, sequences))
    left = side == "left"
    rows = [
        [pad] * (width - len(ids)) * left + list(ids) + [pad] * (width - len(ids)) * (not left) for ids in sequences
    ]
    marks = [
        [0] * (width - len(ids)) * left + [1] * len(ids) + [0] * (width - len(ids)) * (not left) for ids in sequences
    ]
    mask = torch.tensor(marks)
    return {"input_ids": torch.tensor(rows), "attention_mask": mask, "position_ids": positions_from(mask)}


def _said(
    model: nn.Module, ids: Sequence[int], length: int, stop: frozenset[int], choose: Choose
) -> tuple[list[int], str]:
    """Tokens behind some ids, one at a time, with the model's cache where it has one."""
    said: list[int] = []
    state: Any = None
    feed = torch.tensor([list(ids)], device=device_of(model))
    whole = feed
    with evaluated(model):
        for _ in range(length):
            output = call(model, {"input_ids": feed}, state=state)
            token = int(choose(logits_of(output)[0, -1].float()))
            said.append(token)
            if token in stop:
                return said, "stop"
            state = state_of(output)
            new = torch.tensor([[token]], device=feed.device)
            whole = torch.cat([whole, new], 1)
            feed = new if state is not None else whole
    return said, "length"
