"""What a written-out cross-entropy takes the logarithm of, as autograd knows it."""

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from firstfault.probe.handwritten_losses import logarithm_of

LEAST = torch.tensor(1e-8)
SAFE = {
    "clamp": lambda p: p.clamp(1e-8),
    "maximum": lambda p: torch.maximum(p, LEAST),
    "where": lambda p: torch.where(p > 0, p, LEAST),
    "sum": lambda p: p + 1e-8,
}
CHOSEN = {
    "index": lambda logs, y: logs[torch.arange(len(y)), y],
    "one-hot": lambda logs, y: (one_hot(y, 3) * logs).sum(1),
    "diagonal": lambda logs, y: logs.index_select(1, y).diagonal(),
    "masked": lambda logs, y: logs.masked_select(one_hot(y, 3).bool()),
}
ENDS = {
    "raw": nn.Identity(),
    "relu": nn.ReLU(),
    "other": nn.Softmax(1),
    "leaky": nn.LeakyReLU(),
    "capped": nn.ReLU6(),
    "shares": nn.Sigmoid(),
}
KNOWN = {"leaky": "raw", "capped": "relu", "shares": "other"}


@pytest.mark.parametrize("chosen", CHOSEN)
@pytest.mark.parametrize("end", ENDS)
def test_what_a_logarithm_is_of(chosen, end):
    """However it is kept from 0 and chosen, the logarithm is that of raw outputs, of a ReLU's, or of other numbers."""
    for safe in SAFE.values():
        for base in (torch.log, torch.log2):
            outputs = ENDS[end](nn.Linear(4, 3)(torch.randn(8, 4)))
            loss = -CHOSEN[chosen](base(safe(outputs)), torch.randint(0, 3, (8,))).mean()
            assert logarithm_of(loss) == KNOWN.get(end, end)
