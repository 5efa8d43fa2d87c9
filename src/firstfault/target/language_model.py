"""A language model as the user declares it: where it is, how its requests are made, and what it is compared with.

LM ── model, tokenizer   of transformers; or `endpoint`, a server that speaks OpenAI's API; or `generate`, a function
   ├─ render, encode     how messages become text, and text becomes ids, where that is code of the user's own
   ├─ collate            how prompts of unequal length become one batch
   ├─ reference          what it is compared with
   ├─ declared           what it promises: precision, context length, decoding, stop
   └─ tuning             a FineTuning: the rows, their labels, the packing, the adapter
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firstfault.errors import TargetError
from firstfault.target.validation import expect, expect_callable, expect_several, expect_whole

Message = Mapping[str, str]
PRECISIONS = ("float32", "float16", "bfloat16", "int8", "int4")
PROMISES = ("precision", "context", "decoding", "stop")
DECODING = frozenset(
    {
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "max_new_tokens",
        "max_tokens",
        "num_beams",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "no_repeat_ngram_size",
        "length_penalty",
        "seed",
    }
)
"""The settings of decoding that are compared, by the names of transformers and of OpenAI's API."""


@dataclass(frozen=True)
class Prompt:
    """One request: a text or messages, with what a right answer holds, and what a wrong one holds, where known."""

    ask: str | Sequence[Message]
    expected: str | None = None
    unwanted: str | None = None
    id: str = ""

    def __post_init__(self) -> None:
        messages = not isinstance(self.ask, str) and isinstance(self.ask, Sequence) and all(map(_message, self.ask))
        expect(
            bool(self.ask) and (isinstance(self.ask, str) or messages),
            f"the prompt {self.id or '?'}",
            self.ask,
            'a text, or a list of {"role": …, "content": …}',
        )
        for name in ("expected", "unwanted"):
            value = getattr(self, name)
            expect(value is None or (isinstance(value, str) and bool(value)), f"prompt.{name}", value, "a text or None")

    @property
    def messages(self) -> list[dict[str, str]]:
        """The request as messages; a text is what the user says."""
        if isinstance(self.ask, str):
            return [{"role": "user", "content": self.ask}]
        return [dict(message) for message in self.ask]


@dataclass(frozen=True)
class Declared:
    """What a language model promises of itself."""

    precision: str | None = None
    context: int | None = None
    decoding: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        expect(
            self.precision in (None, *PRECISIONS), "declared.precision", self.precision, f"one of {_list(PRECISIONS)}"
        )
        if self.context is not None:
            expect_whole("declared.context", self.context)
        expect_decoding("declared.decoding", self.decoding)
        expect_stop("declared.stop", self.stop)


@dataclass(frozen=True)
class FineTuning:
    """How a language model was tuned: what stands here is examined, and what is left out is skipped.

    `rows` are conversations: a JSON-lines file, or a list of `{"messages": [...]}`, of `{"prompt": …, "completion": …}`
    or of texts. `prepare(row)` gives `{"input_ids": …, "labels": …}`, with −100 where nothing is learnt. `pack(rows)`
    puts several prepared rows into one input of the model. `loss(model, batch)` is the training's; left out, it is
    the model's own. `backward(model, batches)` accumulates gradients over several batches and ends before the step.
    `before` is the model that the tuning began with, `new_tokens` what was added to its tokenizer. `adapter` are the
    tensors of an adapter: a folder, a file or a mapping; `unmerged` is the model with the adapter beside its weights.
    """

    rows: Any = None
    prepare: Callable[[Any], Mapping[str, Any]] | None = None
    pack: Callable[[Sequence[Any]], Mapping[str, Any]] | None = None
    loss: Callable[[Any, Any], Any] | None = None
    backward: Callable[[Any, Sequence[Any]], None] | None = None
    before: Any = None
    new_tokens: Sequence[str] = ()
    adapter: Any = None
    unmerged: Any = None

    def __post_init__(self) -> None:
        for name in ("prepare", "pack", "loss", "backward"):
            expect_callable(f"tuning.{name}", getattr(self, name))
        expect_several("tuning.new_tokens", self.new_tokens, "a list of tokens")
        known = self.rows is None or callable(self.rows) or isinstance(self.rows, str | Path | Sequence)
        expect(known, "tuning.rows", self.rows, "a JSON-lines file, a list of conversations, or a function () -> list")


@dataclass(frozen=True)
class LM:
    """A language model under debugging; one of `model` with `tokenizer`, `endpoint` and `generate` must be given.

    `model` and `tokenizer` are those of transformers, a folder with both, or functions that load them; any network that
    maps ids `(N, T)` to logits `(N, T, V)` will do. `endpoint` is the base of an OpenAI-compatible API, `name` what it
    calls the model, `key` the environment variable with the key that it asks for. `generate(text or messages)` gives
    the answer's text. `render(messages)` gives the text that is sent and `encode(text)` its ids, where they are made by
    code of the user's own; `collate(lists of ids)` gives the inputs of a batch. `batch` is how many prompts are
    answered together. `prompts` are failing requests: texts, messages, pairs (prompt, expected), or `Prompt`.
    `reference` is what it is compared with: another `LM`, a folder or an endpoint; left out, what the checkpoint's own
    template and tokenizer say. `requests` and `tokens` bound what an endpoint is asked for, `seconds` each wait.

    Raises:
        TargetError: naming the field, the value, and what was expected.
    """

    model: Any = None
    tokenizer: Any = None
    endpoint: str | None = None
    generate: Callable[..., str] | None = None
    name: str = ""
    key: str = ""
    render: Callable[..., str] | None = None
    encode: Callable[..., Any] | None = None
    collate: Callable[..., Mapping[str, Any]] | None = None
    batch: int = 1
    decoding: Mapping[str, Any] = field(default_factory=dict)
    stop: Sequence[str | int] = ()
    prompts: Sequence[Any] = ()
    reference: Any = None
    declared: Mapping[str, Any] = field(default_factory=dict)
    tuning: FineTuning | None = None
    requests: int = 200
    tokens: int = 20_000
    seconds: float = 30.0

    def __post_init__(self) -> None:
        self._expect_one_way()
        for name in ("generate", "render", "encode", "collate"):
            expect_callable(f"lm.{name}", getattr(self, name))
        for name in ("name", "key"):
            expect(isinstance(getattr(self, name), str), f"lm.{name}", getattr(self, name), "a text")
        for name in ("batch", "requests", "tokens"):
            expect_whole(f"lm.{name}", getattr(self, name))
        expect(
            isinstance(self.seconds, int | float) and self.seconds > 0,
            "lm.seconds",
            self.seconds,
            "a number of seconds above 0",
        )
        expect_decoding("lm.decoding", self.decoding)
        expect_stop("lm.stop", self.stop)
        kind = isinstance(self.tuning, FineTuning | None)
        expect(kind, "lm.tuning", self.tuning, "FineTuning(…) or None")
        expect(
            self.reference is None or isinstance(self.reference, LM | str | Path),
            "lm.reference",
            self.reference,
            "LM(…), a checkpoint's folder, an endpoint's URL, or None",
        )
        _ = self.promises, self.asked

    def _expect_one_way(self) -> None:
        given = [name for name in ("model", "endpoint", "generate") if getattr(self, name) is not None]
        if len(given) != 1:
            came = " and ".join(given) or "none of them"
            raise TargetError(f"lm must have exactly one of model, endpoint and generate, but got {came}")
        expect(
            self.endpoint is None or str(self.endpoint).startswith(("http://", "https://")),
            "lm.endpoint",
            self.endpoint,
            "a URL of http or https, such as http://127.0.0.1:8000/v1",
        )
        folder = isinstance(self.model, str | Path)
        expect(
            self.model is None or folder or self.tokenizer is not None,
            "lm.tokenizer",
            self.tokenizer,
            "a tokenizer, a folder, or a function () -> tokenizer, where the model is no folder",
        )

    @property
    def served(self) -> bool:
        """Whether it is a service: what it makes of a request is made where it is deployed."""
        return self.model is None

    @functools.cached_property
    def promises(self) -> Declared:
        """What `declared` says, checked."""
        held = isinstance(self.declared, Mapping) and all(name in PROMISES for name in self.declared)
        expect(held, "lm.declared", self.declared, f"{{name: value}} with names of {_list(PROMISES)}")
        return Declared(**{**self.declared, "stop": _stops(self.declared.get("stop", ()))})

    @functools.cached_property
    def asked(self) -> tuple[Prompt, ...]:
        """The failing requests, each with an id of its own."""
        expect_several("lm.prompts", self.prompts, "a list of prompts")
        found = tuple(_prompt(value, f"prompt {number}") for number, value in enumerate(self.prompts, 1))
        ids = [prompt.id for prompt in found]
        twice = next((each for each in ids if ids.count(each) > 1), None)
        expect(twice is None, "lm.prompts", twice, "prompts with ids of their own")
        return found


def expect_decoding(name: str, value: Any) -> None:
    """Settings of decoding by their names."""
    held = isinstance(value, Mapping) and all(key in DECODING for key in value)
    expect(held, name, value, f"{{name: value}} with names of {_list(sorted(DECODING))}")


def expect_stop(name: str, value: Any) -> None:
    """Texts or ids that end an answer."""
    expect_several(name, value, "a list of texts or token ids")
    for item in value:
        expect(isinstance(item, str | int) and item != "", name, item, "a list of texts or token ids")


def _stops(value: Any) -> tuple[str | int, ...]:
    expect_stop("declared.stop", value)
    return tuple(value)


def _prompt(value: Any, name: str) -> Prompt:
    if isinstance(value, Prompt):
        return value if value.id else Prompt(value.ask, value.expected, value.unwanted, name)
    if isinstance(value, tuple) and len(value) == 2 and not _message(value[0]):
        return Prompt(value[0], value[1], id=name)
    return Prompt(value, id=name)


def _message(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(value.get(key), str) for key in ("role", "content"))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
