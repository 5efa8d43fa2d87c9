"""A language model behind an address that speaks OpenAI's API; /tokenize, log-probs and usage are used where they are.

`/tokenize` and `/detokenize` are those of vLLM and SGLang: messages in, ids out, and ids in, text out.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from firstfault.errors import Missing, TargetError
from firstfault.lm.adapter import Adapter, Answer, Capability
from firstfault.lm.http_json import Budget, EndpointError, ask
from firstfault.target.language_model import LM, Message, Prompt

TOP = 5
"""How many log-probabilities of a token are asked for: as many as OpenAI's first API allowed."""


@dataclass(frozen=True)
class Endpoint(Adapter):
    """What a server says. Its `/tokenize` lies beside `/v1`, or in it."""

    base: str
    name: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    stop: tuple[str | int, ...] = ()
    seconds: float = 30.0
    budget: Budget = field(default_factory=lambda: Budget(200, 20_000))
    key: str = field(default="", repr=False)

    @classmethod
    def of(cls, lm: LM) -> Endpoint:
        """The server that a declaration names."""
        base, budget = str(lm.endpoint).rstrip("/"), Budget(lm.requests, lm.tokens)
        if lm.key and lm.key not in os.environ:
            raise TargetError(f"lm.key must name an environment variable that is set, but {lm.key!r} is not")
        return cls(base, lm.name, lm.decoding, tuple(lm.stop), lm.seconds, budget, os.environ.get(lm.key, ""))

    @functools.cached_property
    def lacks(self) -> Mapping[Capability, str]:  # type: ignore[override]
        """What this server does not serve, found out by asking it once."""
        closed = dict.fromkeys(
            (Capability.ATTENTION, Capability.HIDDEN, Capability.LABELS), "an endpoint shows no tensors"
        )
        closed[Capability.LOG_PROBS] = "an endpoint gives those of its own answers alone"
        if self._tokenizer is None:
            closed |= dict.fromkeys((Capability.IDS, Capability.RENDERED), "the endpoint serves no /tokenize")
        return closed

    @functools.cached_property
    def _tokenizer(self) -> str | None:
        for base in dict.fromkeys((self.base.removesuffix("/v1"), self.base)):
            try:
                self._ids(f"{base}/tokenize", {"prompt": "a"})
                return base
            except Missing:
                continue
        return None

    def _ids(self, url: str, what: Mapping[str, Any]) -> list[int]:
        answer = self._ask(url, what)
        ids = answer.get("tokens") if isinstance(answer, dict) else None
        if not isinstance(ids, list) or not all(isinstance(each, int) for each in ids):
            raise EndpointError(f"{url} must answer with a list of tokens, but got {str(answer)[:60]}")
        return ids

    def _ask(self, url: str, what: Mapping[str, Any]) -> Any:
        model = {"model": self.name} if self.name else {}
        return ask(url, {**model, **what}, self.seconds, self.budget, self.key)

    def ids_of(self, prompt: Prompt) -> list[int]:
        """The ids that the server makes of messages."""
        self.need(Capability.IDS)
        return self._ids(f"{self._tokenizer}/tokenize", {"messages": prompt.messages, "add_generation_prompt": True})

    def encode(self, text: str) -> list[int]:
        """The ids that the server makes of a text, without what it would add to a prompt."""
        self.need(Capability.IDS)
        return self._ids(f"{self._tokenizer}/tokenize", {"prompt": text, "add_special_tokens": False})

    def render(self, messages: Sequence[Message], *, generation: bool = True) -> str:
        """The text of the ids that the server makes of messages."""
        self.need(Capability.RENDERED)
        asked = {"messages": [dict(message) for message in messages], "add_generation_prompt": generation}
        ids = self._ids(f"{self._tokenizer}/tokenize", asked)
        answer = self._ask(f"{self._tokenizer}/detokenize", {"tokens": ids})
        text = answer.get("prompt") if isinstance(answer, dict) else None
        if not isinstance(text, str):
            raise EndpointError(f"{self._tokenizer}/detokenize must answer with a prompt, but got {str(answer)[:60]}")
        return text

    def answer(self, prompt: Prompt, length: int) -> Answer:
        """One answer of `/chat/completions` at temperature 0, with log-probabilities where the server gives them.

        Raises:
            EndpointError: where the server does not answer as its API promises.
        """
        body = {"messages": prompt.messages, **greedy(length), "logprobs": True, "top_logprobs": TOP}
        return self._completed({**body, **self._stops()})

    def answer_as_served(self, prompt: Prompt, length: int) -> Answer:
        """One answer with the request's own settings alone: what is left out is the server's default."""
        return self._completed({"messages": prompt.messages, "max_tokens": length, **self.decoding, **self._stops()})

    def _stops(self) -> dict[str, Any]:
        texts = [each for each in self.stop if isinstance(each, str)]
        return {"stop": texts} if texts else {}

    def _completed(self, body: dict[str, Any]) -> Answer:
        url = f"{self.base}/chat/completions"
        answer = self._ask(url, body)
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"]
            usage = answer.get("usage") or {}
            seen = [each for each in ((choice.get("logprobs") or {}).get("content") or []) if isinstance(each, dict)]
            self.budget.count(int(usage.get("total_tokens") or len(str(text)) // 4 + 1))
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise EndpointError(
                f"{url} must answer with choices[0].message.content, but got {str(answer)[:60]}"
            ) from error
        if not isinstance(text, str):
            raise EndpointError(f"{url} must answer with a text, but its content is {text!r}")
        return Answer(
            text,
            finish=str(choice.get("finish_reason") or ""),
            log_probs=tuple(float(each.get("logprob", 0.0)) for each in seen),
            tokens=tuple(str(each.get("token", "")) for each in seen),
            prompt_tokens=usage.get("prompt_tokens"),
        )


def greedy(length: int) -> dict[str, Any]:
    """The settings of an answer that is decoded greedily."""
    return {"max_tokens": length, "temperature": 0.0}
