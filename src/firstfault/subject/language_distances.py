"""How far a language model's log-probabilities are from those of its reference, and how far they may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from firstfault.errors import Missing
from firstfault.finding import Layer
from firstfault.lm.cuts import tolerance
from firstfault.lm.local import Local
from firstfault.lm.modules import number_format
from firstfault.lm.network import divergence, vocabulary_of
from firstfault.subject.language_model import declared_lm, local, network, reference, reference_network, ways
from firstfault.subject.memo import memo, part
from firstfault.subject.subject import Subject

FORWARD_PROMPTS, FORWARD_TOKENS = 3, 256
"""How many prompts are sent through a network, and how much of each: on 135 M parameters about a CPU second each."""


@dataclass(frozen=True)
class Gap:
    """How far log-probabilities are from the reference's: the mean divergence, and that of each position."""

    prompt: str
    ids: tuple[int, ...]
    by_position: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the positions, in nat."""
        return sum(self.by_position) / max(1, len(self.by_position))


@memo(of="model")
def forward_ids(subject: Subject) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The prompts that are sent through networks, as the reference's ids, with their names."""
    limit = getattr(getattr(network(subject), "config", None), "max_position_embeddings", None) or FORWARD_TOKENS
    vocabulary = vocabulary_of(network(subject))
    known = [(way.prompt.id, (way.expected_ids or ())[: min(limit - 1, FORWARD_TOKENS)]) for way in ways(subject)]
    return tuple((name, ids) for name, ids in known if ids and max(ids) < vocabulary)[:FORWARD_PROMPTS]


@part(Layer.MODEL, "lm.model", of="model")
def gaps(subject: Subject) -> tuple[Gap, ...]:
    """How far the network's log-probabilities are from those of the reference, on the reference's ids."""
    model, other = local(subject), reference(subject)
    reference_network(subject)
    if tuned(subject):
        raise Missing("the model was tuned since the reference")
    return tuple(
        Gap(name, ids, tuple(divergence(other.log_probs(ids), model.log_probs(ids)).tolist()))
        for name, ids in forward_ids(subject)
    )


def tuned(subject: Subject) -> bool:
    """Whether the weights are meant to be others than the reference's."""
    return declared_lm(subject).tuning is not None


@memo(of="model")
def bound(subject: Subject) -> float:
    """How far log-probabilities may be apart: by the declared precision, else by the number format of the weights."""
    declared = declared_lm(subject).promises.precision
    if declared is not None:
        return tolerance(declared)
    own = number_format(network(subject))
    return tolerance(own if own in ("float16", "bfloat16") else "float32")


@memo(of="model")
def numerics(subject: Subject) -> float:
    """How far two ways through one and the same network may be apart: by the number format that it computes in."""
    return tolerance(number_format(network(subject)))


def behind(sequences: Sequence[Sequence[int]], model: Local) -> torch.Tensor:
    """Log-probabilities `(N, V)` behind each of some sequences, one at a time."""
    return torch.stack([model.log_probs(ids)[-1] for ids in sequences])
