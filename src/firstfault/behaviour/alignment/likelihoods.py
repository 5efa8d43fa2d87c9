"""How much likelier a model holds a right example than a wrong one: no judge is asked."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from firstfault.lm.adapter import Adapter
from firstfault.lm.rendering import common_start
from firstfault.target.language_model import Prompt


def log_likelihood(model: Adapter, asked: str, answer: str) -> float:
    """The mean log-probability of an answer's tokens behind a prompt, in nat a token.

    Raises:
        Missing: where the model shows no log-probs.
    """
    text = model.text_of(Prompt(asked))
    before, whole = model.encode(text), model.encode(text + answer)
    start = min(max(common_start(before, whole), 1), len(whole) - 1)
    behind = model.log_probs(whole)[start - 1 : -1]
    ids = torch.tensor(whole[start:], device=behind.device)
    return float(behind.gather(1, ids[:, None]).mean())


def margin(model: Adapter, asked: str, right: Sequence[str], wrong: Sequence[str]) -> float:
    """The likeliest right example less the likeliest wrong one, in nat a token: below 0 the wrong one is likelier."""
    likeliest = [max(log_likelihood(model, asked, answer) for answer in answers) for answers in (right, wrong)]
    return likeliest[0] - likeliest[1]
