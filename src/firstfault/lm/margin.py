"""The margin of two answers: log p(one | prompt) − log p(other | prompt), and what of the prompt it hangs on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from firstfault.errors import Missing, told
from firstfault.interrupts import pass_on
from firstfault.lm.local import Local, ids_in
from firstfault.lm.network import call, device_of, evaluated, logits_of
from firstfault.lm.rendering import common_start
from firstfault.target.language_model import Prompt
from firstfault.training.embeddings import embedding_of

BEHIND = 8
"""Tokens of each answer that count, from the first that differs on: an answer is decided early, and drifts later."""
BATCH_TOKENS = 2_048
"""Of one forward pass: some 400 MB of logits over a vocabulary of 50,000."""


@dataclass(frozen=True)
class Margin:
    """log p(`expected`) − log p(`given`) behind prompts, teacher-forced, over the first tokens that differ."""

    model: Local
    expected: str
    given: str

    @functools.cached_property
    def answers(self) -> tuple[list[int], list[int]]:
        """The ids of both answers, cut where they have told enough.

        Raises:
            Missing: when they are the same, or one is empty.
        """
        blank = " " * (self.given.startswith(" ") and not self.expected.startswith(" "))
        one, other = (_plain_ids(self.model, text) for text in (blank + self.expected, self.given))
        alike = common_start(one, other)
        if not one or not other:
            raise Missing("needs two answers, but one is empty")
        if alike == max(len(one), len(other)):
            raise Missing("needs two answers, but what was given begins as what is expected")
        return one[: alike + BEHIND], other[: alike + BEHIND]

    def __call__(self, prompts: Sequence[str]) -> list[float]:
        """The margin behind each prompt, in nat.

        Raises:
            Missing: when the answers are the same, or a prompt is beyond the model's context.
        """
        different = list(dict.fromkeys(prompts))
        rows = [(ids, answer) for ids in map(self.ids_of, different) for answer in self.answers]
        sums = self._sums(rows)
        known = {text: one - other for text, one, other in zip(different, sums[::2], sums[1::2], strict=True)}
        return [known[text] for text in prompts]

    def ids_of(self, prompt: str) -> list[int]:
        """The ids of a prompt as the model gets it.

        Raises:
            Missing: when it is beyond the model's context.
        """
        ids = self.model.ids_of(Prompt(prompt))
        limit = getattr(getattr(self.model.model, "config", None), "max_position_embeddings", None)
        if limit is not None and len(ids) + max(map(len, self.answers)) > limit:
            raise Missing(f"needs a prompt within the model's context of {limit} tokens")
        if not ids:
            raise Missing("needs a prompt with a token")
        return ids

    def _sums(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """The log-probability of each answer behind its prompt; those of like length go through together."""
        order = sorted(range(len(rows)), key=lambda place: len(rows[place][0]) + len(rows[place][1]))
        found = [0.0] * len(rows)
        while order:
            longest = sum(map(len, rows[order[-1]]))
            size = max(BATCH_TOKENS // longest, 1)
            order, batch = order[:-size], order[-size:]
            for place, value in zip(batch, self._together([rows[place] for place in batch]), strict=True):
                found[place] = value
        return found

    def _together(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """Padded on the right: what a causal model says of a token is not changed by what stands behind it."""
        width = max(len(ids) + len(answer) for ids, answer in rows)
        padded = [[*ids, *answer, *[0] * (width - len(ids) - len(answer))] for ids, answer in rows]
        network = self.model.model
        with evaluated(network):
            logits = logits_of(call(network, {"input_ids": torch.tensor(padded, device=device_of(network))}))
            return [float(_log_prob(logits[row], len(ids), answer)) for row, (ids, answer) in enumerate(rows)]

    def by_gradient(self, prompt: str) -> list[float]:
        """Gradient × input of the margin for each token of a prompt: what its embedding adds to it, to first order.

        Raises:
            Missing: when the network has no embedding whose gradient can be taken.
        """
        ids = self.ids_of(prompt)
        one, other = (self._gradient(ids, answer) for answer in self.answers)
        return (one - other).tolist()

    def _gradient(self, ids: list[int], answer: list[int]) -> torch.Tensor:
        network = self.model.model
        taken: list[torch.Tensor] = []
        handle = _embedding(network).register_forward_hook(_leaf(taken))
        try:
            with evaluated(network), torch.enable_grad():
                tensor = torch.tensor([[*ids, *answer]], device=device_of(network))
                value = _log_prob(logits_of(call(network, {"input_ids": tensor}))[0], len(ids), answer)
                gradient = torch.autograd.grad(value, taken[0])[0]
        except Exception as error:  # a quantised or compiled network may have none
            pass_on(error)
            raise Missing(f"needs gradients: {told(error)}") from error
        finally:
            handle.remove()
        return (gradient * taken[0]).detach()[0, : len(ids)].float().sum(-1).cpu()

    def attention(self, prompt: str) -> list[float]:
        """How the last token of a prompt attends to each of its tokens, on average over layers and heads.

        Raises:
            Missing: when the network shows no attention.
        """
        ids, network = self.ids_of(prompt), self.model.model
        try:
            with evaluated(network), showing_attention(network):
                tensor = torch.tensor([ids], device=device_of(network))
                seen = getattr(call(network, {"input_ids": tensor}, output_attentions=True), "attentions", None)
        except Exception as error:  # a network of the user's own may know no such argument
            pass_on(error)
            seen = None
        layers = [layer for layer in seen or () if layer is not None]
        if not layers:
            raise Missing("needs attention: the network shows none")
        mean: list[float] = torch.stack([layer[0, :, -1].float().mean(0) for layer in layers]).mean(0).tolist()
        return mean

    def places(self, prompt: str) -> list[tuple[int, int]]:
        """Which characters of a prompt each of its tokens is, from and to; (0, 0) for those of the template.

        Raises:
            Missing: when tokens do not read as the text they were made of.
        """
        text, ids = self.model.text_of(Prompt(prompt)), self.ids_of(prompt)
        ends = [len(str(self.model.tokenizer.decode(ids[:count]))) for count in range(len(ids) + 1)]
        whole = str(self.model.tokenizer.decode(ids))
        begin = whole.find(prompt)
        if begin < 0 or (text not in whole and whole not in text):
            raise Missing("needs tokens that read as their text")
        inside = [(start - begin, end - begin) for start, end in zip(ends, ends[1:], strict=False)]
        return [(max(a, 0), min(b, len(prompt))) if b > 0 and a < len(prompt) else (0, 0) for a, b in inside]


def _plain_ids(model: Local, text: str) -> list[int]:
    """The ids of an answer, without what is added to a prompt."""
    if callable(model.tokenizer):
        return ids_in(model.tokenizer(text, add_special_tokens=False))
    return ids_in(model.tokenizer.encode(text))


def _log_prob(logits: torch.Tensor, start: int, answer: Sequence[int]) -> torch.Tensor:
    """The log-probability of an answer, of the logits `(T, V)` of prompt and answer."""
    behind = logits[start - 1 : start - 1 + len(answer)].float().log_softmax(-1)
    return behind[range(len(answer)), list(answer)].sum()


def _embedding(network: nn.Module) -> nn.Module:
    found = embedding_of(network)
    if not isinstance(found, nn.Module):
        raise Missing("needs gradients: the network has no embedding")
    return found


def _leaf(taken: list[torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A hook that makes what an embedding gives a leaf, whose gradient can be asked for."""

    def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        if taken:
            return output
        taken.append(output.detach().requires_grad_())
        return taken[0]

    return hook


@contextmanager
def showing_attention(network: nn.Module) -> Iterator[None]:
    """A block in which a network of transformers attends step by step: its faster kernels show no weights."""
    config = getattr(network, "config", None)
    before, choose = getattr(config, "_attn_implementation", None), getattr(network, "set_attn_implementation", None)
    if before in (None, "eager") or choose is None:
        yield
        return
    choose("eager")
    try:
        yield
    finally:
        choose(before)
